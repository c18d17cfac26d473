// Numbers of subjects, in the words of their chain.

import { text } from "../kit/texts.js";

/** 3 orders; without a graph they are of several chains. */
export const counted = (graph, count) =>
  graph ? text("subjects.counted", { count, ...called(graph) }) : text("subjects.any", { count });

/** What a text fills in for the subjects of a chain. */
export const called = ({ subject, subjects }) => ({ subject, subjects });

export const capital = (said) => said.charAt(0).toUpperCase() + said.slice(1);

export const subjectOf = (graph) => (graph ? capital(graph.subject) : text("subjects.one"));
