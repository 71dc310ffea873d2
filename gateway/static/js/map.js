// The map: zones as points over a mesh of neighbours, and the track of each ride as it is quoted, fading.

import { LON_SCALE, nearest, neighbours } from "./zones.js";

const SHOWN_MS = 5000; // how long a track takes to draw itself and fade away
const TRACKS = 60; // the most that is drawn at once; the oldest gives way
const BOUNDS = { west: -74.04, east: -73.69, south: 40.555, north: 40.915 }; // where the rides are: without Staten Island

export class CityMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./zones.js").Zone[]} zones
   * @param {(zone: import("./zones.js").Zone) => void} onPick
   */
  constructor(canvas, zones, onPick) {
    this.canvas = canvas;
    this.zones = zones.filter(inside);
    this.pairs = neighbours(this.zones);
    this.context = canvas.getContext("2d");
    this.ground = document.createElement("canvas");
    this.tracks = [];
    this.selected = null;
    this.ends = [];
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.stale = true;
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.resize());
    canvas.addEventListener("click", (event) => onPick(this.zoneAt(event)));
  }

  /** Show a ride's track from now on. */
  add(ride, now) {
    if (this.tracks.length >= TRACKS) this.tracks.shift();
    this.tracks.push({ ride, since: now });
  }

  /** Keep a ride's track on the map, with its latest duration; null lets it go. */
  select(subject) {
    this.selected = subject;
    this.stale = true;
  }

  /** The two zones chosen under "Try it". */
  showEnds(zones) {
    this.ends = zones;
    this.stale = true;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.canvas.getBoundingClientRect();
    this.size = [width, height];
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const style = getComputedStyle(this.canvas);
    this.colour = Object.fromEntries(["track", "zone", "mesh", "ink", "panel", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.drawGround();
    this.stale = true;
  }

  /** Degrees to CSS pixels, the same scale both ways, centred. */
  project([lon, lat]) {
    const [width, height] = this.size;
    const wide = (BOUNDS.east - BOUNDS.west) * LON_SCALE;
    const high = BOUNDS.north - BOUNDS.south;
    const scale = Math.min(width / wide, height / high);
    return [
      width / 2 + ((lon - (BOUNDS.west + BOUNDS.east) / 2) * LON_SCALE) * scale,
      height / 2 - (lat - (BOUNDS.south + BOUNDS.north) / 2) * scale,
    ];
  }

  zoneAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const away = (zone) => {
      const [zx, zy] = this.project([zone.lon, zone.lat]);
      return (zx - x) ** 2 + (zy - y) ** 2;
    };
    return this.zones.reduce((best, zone) => (away(zone) < away(best) ? zone : best));
  }

  drawGround() {
    const draw = this.ground.getContext("2d");
    draw.clearRect(0, 0, ...this.size);
    draw.strokeStyle = this.colour.mesh;
    draw.lineWidth = 1;
    draw.beginPath();
    for (const [a, b] of this.pairs) {
      draw.moveTo(...this.project([a.lon, a.lat]));
      draw.lineTo(...this.project([b.lon, b.lat]));
    }
    draw.stroke();
    draw.fillStyle = this.colour.zone;
    for (const zone of this.zones) dot(draw, this.project([zone.lon, zone.lat]), 1.6);
  }

  /** Draw one frame, unless nothing moves. */
  frame(now) {
    this.tracks = this.tracks.filter((track) => now - track.since < SHOWN_MS);
    const moving = this.tracks.length > 0 || this.selected;
    if (!this.size || !(moving || this.stale)) return;
    this.stale = Boolean(moving); // one more frame after the last track, to wipe it
    const draw = this.context;
    draw.clearRect(0, 0, ...this.size);
    draw.drawImage(this.ground, 0, 0, ...this.size);
    for (const track of this.tracks) this.drawTrack(track.ride, (now - track.since) / SHOWN_MS);
    if (this.selected?.track) this.drawSelected(this.selected);
    this.ends.forEach((zone, index) => this.drawEnd(zone, index === 0 ? "A" : "B"));
  }

  /** `age` from 0 to 1: the line draws itself in the first fifth, then fades. */
  drawTrack(ride, age) {
    const points = ride.track.map((point) => this.project(point));
    const drawn = this.still.matches ? 1 : Math.min(age / 0.2, 1);
    const draw = this.context;
    draw.globalAlpha = 0.85 * (1 - Math.max(0, (age - 0.2) / 0.8)) ** 1.5;
    draw.strokeStyle = draw.fillStyle = ride.mine ? this.colour.accent : this.colour.track;
    draw.lineWidth = ride.mine ? 3 : 1.6;
    const head = line(draw, points, drawn);
    dot(draw, points[0], 2);
    dot(draw, head, 2.8);
    draw.globalAlpha = 1;
  }

  drawSelected(ride) {
    const points = ride.track.map((point) => this.project(point));
    const draw = this.context;
    draw.strokeStyle = draw.fillStyle = this.colour.accent;
    draw.lineWidth = 3;
    dot(draw, line(draw, points, 1), 4);
    const minutes = ride.durations.at(-1);
    if (minutes !== undefined) this.label(points.at(-1), `${minutes.toFixed(1)} min`);
  }

  drawEnd(zone, letter) {
    const at = this.project([zone.lon, zone.lat]);
    const draw = this.context;
    draw.fillStyle = this.colour.accent;
    dot(draw, at, 8);
    draw.fillStyle = this.colour.panel;
    draw.font = "600 10px system-ui, sans-serif";
    draw.textAlign = "center";
    draw.textBaseline = "middle";
    draw.fillText(letter, at[0], at[1] + 0.5);
  }

  label([x, y], text) {
    const draw = this.context;
    draw.font = "600 12px system-ui, sans-serif";
    draw.textAlign = x > this.size[0] - 80 ? "right" : "left";
    draw.textBaseline = "middle";
    draw.lineWidth = 4;
    draw.strokeStyle = this.colour.panel;
    const shifted = x + (draw.textAlign === "right" ? -9 : 9);
    draw.strokeText(text, shifted, y - 9);
    draw.fillStyle = this.colour.ink;
    draw.fillText(text, shifted, y - 9);
  }
}

function inside({ lon, lat }) {
  return lon > BOUNDS.west && lon < BOUNDS.east && lat > BOUNDS.south && lat < BOUNDS.north;
}

/** The first `share` of a polyline; returns where it ends. */
function line(draw, points, share) {
  const steps = points.slice(1).map(([x, y], i) => Math.hypot(x - points[i][0], y - points[i][1]));
  let left = share * steps.reduce((sum, step) => sum + step, 0);
  let head = points[0];
  draw.beginPath();
  draw.moveTo(...head);
  for (const [i, step] of steps.entries()) {
    const part = step > 0 ? Math.min(left / step, 1) : 1;
    head = [points[i][0] + (points[i + 1][0] - points[i][0]) * part, points[i][1] + (points[i + 1][1] - points[i][1]) * part];
    draw.lineTo(...head);
    left -= step;
    if (left <= 0) break;
  }
  draw.stroke();
  return head;
}

function dot(draw, [x, y], radius) {
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}

/** The names of a track's two ends, "from → to". */
export function routeOf(track, zones) {
  const [from, to] = [nearest(zones, ...track[0]), nearest(zones, ...track.at(-1))];
  return from && to ? `${from.name} → ${to.name}` : null;
}
