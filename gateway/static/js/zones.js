// The taxi zones: id, name, borough, centroid. Served as data beside this file.

/** @typedef {{id: number, name: string, borough: string, lon: number, lat: number}} Zone */

/** @returns {Promise<Zone[]>} */
export async function loadZones() {
  const response = await fetch("/static/zones.json");
  if (!response.ok) throw new Error(`the zones could not be loaded (${response.status})`);
  const rows = await response.json();
  return rows.map(([id, name, borough, lon, lat]) => ({ id, name, borough, lon, lat }));
}

// A degree of longitude is this much of a degree of latitude at 40.7° N.
export const LON_SCALE = Math.cos((40.7 * Math.PI) / 180);

/** @param {Zone[]} zones */
export function nearest(zones, lon, lat) {
  let best = null;
  let least = Infinity;
  for (const zone of zones) {
    const distance = ((zone.lon - lon) * LON_SCALE) ** 2 + (zone.lat - lat) ** 2;
    if (distance < least) [best, least] = [zone, distance];
  }
  return best;
}

/** Pairs of neighbours (Gabriel graph): no third zone lies in the circle over the two. Drawn as the map's texture. */
export function neighbours(zones, furthestDegrees = 0.06) {
  const points = zones.map((zone) => [zone.lon * LON_SCALE, zone.lat]);
  const pairs = [];
  for (let a = 0; a < points.length; a += 1) {
    for (let b = a + 1; b < points.length; b += 1) {
      const square = distanceSquared(points[a], points[b]);
      if (square > furthestDegrees ** 2) continue;
      const middle = [(points[a][0] + points[b][0]) / 2, (points[a][1] + points[b][1]) / 2];
      const between = (point, index) => index !== a && index !== b && distanceSquared(point, middle) < square / 4;
      if (!points.some(between)) pairs.push([zones[a], zones[b]]);
    }
  }
  return pairs;
}

function distanceSquared(a, b) {
  return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2;
}
