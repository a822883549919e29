"""How smoothly the browser's map of many hands moves, and how soon a lasso is there, as JSON.

    python -m benchmarks.pose_map [--points 500000 2000000] [--webgl]

The canvas is drawn in a headless Chromium without a graphics card: frames a second while the map is panned,
and the milliseconds of a whole redraw. ``--webgl`` draws the same points with WebGL for comparison. The lasso
is the server's part, from the outline to the hands in the tray and to what the canvas is sent.
"""

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, ViewportSize

from apps.browser.components import read_css
from apps.browser.components.pose_map import CANVAS_HTML, CANVAS_SCRIPT, Legend, encode_bits, encode_points
from apps.browser.map.colouring import colour_classes
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import Outline, find_rows_within, summarise
from apps.browser.tray.tray import Tray
from benchmarks.clock import Clock
from handsim.pool.reader import Categorical
from tests.apps.browser.screenshot import chromium

_SIZE: Final[ViewportSize] = {"width": 1440, "height": 900}
_FRAMES: Final = 90
_MAX_S: Final = 20
_CLASSES: Final = 12
_CORNERS: Final = 300
_REPEATS: Final = 5

_MOUNT: Final = """async ([html, css, script, points]) => {
  document.body.innerHTML = `<style>${css}</style>${html}`;
  const style = document.body.style;
  style.setProperty("--st-secondary-background-color", "rgb(241, 244, 246)");
  const bytes = Uint8Array.from(atob(points), (letter) => letter.charCodeAt(0));
  const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  module.default({ data: bytes, parentElement: document.body });
}"""
_PAN: Final = """async ([frames, maxS]) => {
  const face = document.querySelector("canvas.face");
  const press = (key, shiftKey) => face.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey }));
  const next = () => new Promise(requestAnimationFrame);
  press("+", false);
  await new Promise((done) => setTimeout(done, 1500));
  const redraw = Number(document.querySelector(".stage").dataset.drawMs);
  const times = [];
  const begin = performance.now();
  for (let i = 0, before = begin; i < frames && before - begin < 1000 * maxS; i++) {
    press(Math.floor(i / 8) % 2 ? "ArrowLeft" : "ArrowRight", true);
    await next();
    const now = performance.now();
    times.push(now - before);
    before = now;
  }
  return { redraw, times };
}"""
_WEBGL: Final = """async ([points, count, frames, maxS]) => {
  const bytes = Uint8Array.from(atob(points), (letter) => letter.charCodeAt(0));
  const sent = bytes.slice(bytes.indexOf(10) + 1).buffer;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1400, 520];
  document.body.replaceChildren(canvas);
  const gl = canvas.getContext("webgl2", { antialias: false });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, `#version 300 es
      in float x; in float y; in float code; uniform vec2 view; flat out vec3 colour;
      void main() { gl_Position = vec4(vec2(x, y) * view.y + view.x, 0, 1); gl_PointSize = 3.0;
        colour = fract(code * vec3(.37, .61, .83)); }`],
    [gl.FRAGMENT_SHADER, `#version 300 es
      precision mediump float; flat in vec3 colour; out vec4 pixel;
      void main() { pixel = vec4(colour, 1); }`],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const put = (name, data, type) => {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 1, type, type === gl.UNSIGNED_SHORT, 0, 0);
  };
  put("x", new Uint16Array(sent, 0, count), gl.UNSIGNED_SHORT);
  put("y", new Uint16Array(sent, 2 * count, count), gl.UNSIGNED_SHORT);
  put("code", new Uint8Array(sent, 4 * count, count), gl.UNSIGNED_BYTE);
  const times = [];
  const begin = performance.now();
  for (let i = 0, before = begin; i < frames && before - begin < 1000 * maxS; i++) {
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(gl.getUniformLocation(program, "view"), -1.2 + 0.002 * i, 2.4);
    gl.drawArrays(gl.POINTS, 0, count);
    gl.finish();
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - before);
    before = now;
  }
  return times;
}"""


def make_map(points: int) -> PoseMap:
    """Hands in 200 clusters of different sizes."""
    random = np.random.default_rng(0)
    centres = random.uniform(0.1, 0.9, (200, 2))
    which = random.integers(200, size=points)
    places = np.clip(centres[which] + random.normal(0, 0.02, (points, 2)), 0, 1).astype(np.float32)
    labels = Categorical(
        (which % _CLASSES).astype(np.int32), tuple(f"label {code}" for code in range(_CLASSES))
    )
    return PoseMap(
        "v0001",
        f"{points}-0123456789abcdef",
        points,
        np.sort(random.choice(2**62, points, replace=False)).astype(np.uint64),
        places,
        random.uniform(0, 1, points).astype(np.float32),
        Categorical(np.zeros(points, np.int32), ("synthetic",)),
        Categorical((which // 2).astype(np.int32), tuple(map(str, range(100)))),
        labels,
    )


def pan(page: Page, points: str, count: int, *, webgl: bool) -> dict[str, Any]:
    """Frames a second, and milliseconds, of our canvas and of WebGL."""
    page.evaluate(_MOUNT, [CANVAS_HTML, read_css("pose_map"), CANVAS_SCRIPT, points])
    panned = page.evaluate(_PAN, [_FRAMES, _MAX_S])
    figures = {"redraw_ms": round(panned["redraw"], 1), **_frames(panned["times"])}
    if webgl:
        times = page.evaluate(_WEBGL, [points, count, _FRAMES, _MAX_S])
        figures["webgl"] = _frames(times) if times else "not available"
    return figures


def _frames(times_ms: list[float]) -> dict[str, float]:
    return {
        "frames_per_s": round(1000 * len(times_ms) / sum(times_ms), 1),
        "frame_ms_p95": round(float(np.percentile(times_ms, 95)), 1),
    }


def lasso(pose_map: PoseMap, folder: Path) -> dict[str, Any]:
    """Seconds of the server's parts, for an outline with many corners around a fifth of the hands."""
    with Clock() as first:
        pose_map.by_height, pose_map.place_of_row  # noqa: B018  # made once for a map
    outline = _outline_around(pose_map, 0.2)
    seconds: dict[str, list[float]] = {}

    def clock(name: str, used: Clock) -> None:
        seconds.setdefault(name, []).append(used.seconds)

    for number in range(_REPEATS):
        tray = Tray(folder / f"{number}.npy")
        with Clock() as whole:
            with Clock() as part:
                rows = find_rows_within(pose_map, outline)
            clock("within_outline", part)
            with Clock() as part:
                tray.change(pose_map.hand_ids[rows])
            clock("into_tray", part)
            with Clock() as part:
                chosen = np.zeros(len(pose_map), dtype=np.bool_)
                chosen[pose_map.find_rows(tray.hand_ids)] = True
                encode_bits(pose_map, chosen)
            clock("to_canvas", part)
            with Clock() as part:
                summarise(pose_map, rows, pose_map.labels)
            clock("summary", part)
        clock("all", whole)
    medians = {name: round(float(np.median(values)), 4) for name, values in seconds.items()}
    return {
        "hands": len(rows),
        "corners": len(outline),
        "once_s": round(first.seconds, 3),
        "seconds": medians,
    }


def _outline_around(pose_map: PoseMap, share: float) -> Outline:
    """A wavy ring around the middle that holds about that share of the hands."""
    away = np.linalg.norm(pose_map.places - 0.5, axis=1)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    radii = float(np.quantile(away, share)) * (1 + 0.02 * np.sin(17 * angles))
    corners: NDArray[np.float64] = 0.5 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return tuple((float(x), float(y)) for x, y in corners)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[500_000, 2_000_000])
    parser.add_argument("--webgl", action="store_true", help="draw the same points with WebGL, too")
    options = parser.parse_args()
    report = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for points in options.points:
            pose_map = make_map(points)
            sent = encode_points(
                pose_map, colour_classes(pose_map.labels), Legend("no label"), topic="map", most=points
            )
            page = browser.new_page(viewport=_SIZE)
            text = base64.b64encode(sent).decode()
            figures = pan(page, text, points, webgl=options.webgl)
            page.close()
            report[f"{points:,}"] = {**figures, "lasso": lasso(pose_map, Path(folder))}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
