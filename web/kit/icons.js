// The pictures that a link may have, as paths around 0 0, at most 36 wide.

const ICONS = {
  card: "M-15-10h30a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-30a3 3 0 0 1-3-3V-7a3 3 0 0 1 3-3zM-18-3h36M-12 4h8",
  box: "M-15-6L0-13 15-6V8L0 15-15 8zM-15-6L0 1 15-6M0 1v14",
  tag: "M-14-12H0L15 3 4 14-14-1zM-8-6h.1",
  page: "M-11-14h16l7 7v21h-23zM5-14v7h7M-5-1H6M-5 6H6",
  link: "M-1 7h-9a7 7 0 0 1 0-14h9a7 7 0 0 1 7 7M1-7h9a7 7 0 0 1 0 14h-9a7 7 0 0 1-7-7",
};

export const icon = (name) => ICONS[name] ?? ICONS.link;
