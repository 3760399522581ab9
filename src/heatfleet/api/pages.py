"""Pages for people: the API's documentation, without a request to anywhere else, and what each problem means."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from heatfleet.api.gate import opens_to
from heatfleet.api.problem_table import PROBLEMS, TABLE
from heatfleet.api.problems import problem_responses
from heatfleet.api.schemas import ProblemList, ProblemOut
from heatfleet.errors import NotFound

ASSETS = Path(__file__).with_name("assets")
MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
OPENAPI = "/openapi.json"
_FAVICON = "/assets/favicon-32x32.png"
_TITLE = "Heatfleet API"

_OWN_ONLY = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; worker-src blob:; font-src data:; "
        "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The browser itself keeps these pages from asking any other host. The inline script is the framework's, fixed."""

router = APIRouter(route_class=opens_to(None))


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    """The documentation is what a newcomer looks for."""
    return RedirectResponse("/docs")


@router.get(OPENAPI, include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The API as programs read it, OpenAPI 3.1; written once, as everybody may ask for it."""
    app: FastAPI = request.app
    if not hasattr(app.state, "openapi"):
        app.state.openapi = JSONResponse(app.openapi()).body
    return Response(app.state.openapi, media_type=JSONResponse.media_type)


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The API to read and to try out (Swagger UI)."""
    page = get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=_TITLE,
        swagger_js_url="/assets/swagger-ui-bundle.js",
        swagger_css_url="/assets/swagger-ui.css",
        swagger_favicon_url=_FAVICON,
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers.update(_OWN_ONLY)
    return page


@router.get("/redoc", include_in_schema=False)
async def redoc() -> HTMLResponse:
    """The API to read on one page (ReDoc)."""
    page = get_redoc_html(
        openapi_url=OPENAPI,
        title=_TITLE,
        redoc_js_url="/assets/redoc.standalone.js",
        redoc_favicon_url=_FAVICON,
        with_google_fonts=False,
    )
    page.headers.update(_OWN_ONLY)
    return page


@router.get("/assets/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """A file that the two pages need."""
    if name not in MEDIA_TYPES:
        raise NotFound("there is no such file")
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return FileResponse(ASSETS / name, headers=headers, media_type=MEDIA_TYPES[name])


@router.get("/problems", tags=["problems"], summary="All problems")
async def list_problems() -> ProblemList:
    """Every refusal this API knows, and what to do about it."""
    return ProblemList(problems=[ProblemOut.of(problem) for problem in TABLE])


@router.get("/problems/{slug}", tags=["problems"], summary="One problem", responses=problem_responses("not-found"))
async def get_problem(slug: str) -> ProblemOut:
    """What the `type` of a problem document leads to."""
    if slug not in PROBLEMS:
        raise NotFound("there is no such problem")
    return ProblemOut.of(PROBLEMS[slug])
