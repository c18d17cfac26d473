"""The pages: the shop for customers, the console for operators. Plain files; whatever they show comes over the API."""

from importlib.resources import files
from string import Template
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

WEB = str(files("web"))
FOLDERS = ("kit", "shop", "console")

# Nothing from elsewhere: neither script nor font nor frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def shop() -> FileResponse:
    return FileResponse(f"{WEB}/shop/shop.html", headers=_HEADERS)


@router.get("/console")
async def console() -> FileResponse:
    return FileResponse(f"{WEB}/console/console.html", headers=_HEADERS)


_NOWHERE = {
    "en": {
        "title": "This page does not exist",
        "text": "The address may be mistyped, or the page has moved.",
        "link": "Go to the shop",
    },
    "uk": {
        "title": "Такої сторінки немає",
        "text": "Можливо, в адресі помилка або сторінку перенесено.",
        "link": "Перейти до крамниці",
    },
}


def nowhere(language: str) -> HTMLResponse:
    """What a browser shows for a wrong address."""
    page = Template((files("web") / "nowhere.html").read_text()).substitute(_NOWHERE[language], lang=language)
    return HTMLResponse(page, 404, {**_HEADERS, "Content-Language": language, "Vary": "Accept, Accept-Language"})


class _Fresh(StaticFiles):
    """Asked for each time, and mostly answered 304: a page must not meet the modules of another version."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        answer = super().file_response(*args, **more)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def static_files(folder: str) -> StaticFiles:
    return _Fresh(directory=f"{WEB}/{folder}")
