import type { Seeded } from './seeded.ts';

/**
 * A dermoscopy-like picture of a skin lesion: made up, not traced from any image.
 *
 * A naevus is small, round and evenly brown; the melanoma-like one large, lopsided, ragged and of several colours.
 *
 * @param body - decides skin and lesion. @param view - decides where it lies and how it is lit.
 * @returns [edge, edge, 3] interleaved, in [0, 1].
 */
export function drawLesion(edge: number, malign: boolean, body: Seeded, view: Seeded): Float32Array {
  // People differ in how dark they are far more than in hue.
  const dark = body.normal(0, 0.07);
  const skin = [0.87, 0.67, 0.58].map((c) => c * (1 - dark) + body.normal(0, 0.012));
  const brown = (malign ? [0.3, 0.18, 0.13] : [0.54, 0.33, 0.22]).map((c) => c * (1 - dark) + body.normal(0, 0.015));
  const radius = malign ? body.normal(0.62, 0.06) : body.normal(0.4, 0.05);
  const waves = [2, 3, 5, 7].map((k) => ({
    k,
    height: (malign ? 0.13 : 0.03) * body.normal(1, 0.3) * (2 / k) ** 0.7,
    phase: body.uniform(0, 2 * Math.PI),
  }));
  const spots = Array.from({ length: malign ? 5 : 0 }, (_, i) => ({
    x: body.normal(0, 0.28),
    y: body.normal(0, 0.28),
    r: body.uniform(0.14, 0.32),
    colour: i % 2 === 0 ? [0.12, 0.09, 0.1] : [0.45, 0.46, 0.55],
  }));
  const hairs = Array.from({ length: body.below(4) }, () => [
    body.uniform(-1, 1),
    body.uniform(-1, 1),
    body.uniform(0, Math.PI),
  ]);

  const [dx, dy, turn, light] = [
    view.normal(0, 0.06),
    view.normal(0, 0.06),
    view.uniform(-0.5, 0.5),
    view.normal(1, 0.05),
  ];
  const out = new Float32Array(edge * edge * 3);
  for (let py = 0; py < edge; py++) {
    for (let px = 0; px < edge; px++) {
      const [sx, sy] = [((px + 0.5) / edge) * 2 - 1, ((py + 0.5) / edge) * 2 - 1];
      const x = Math.cos(turn) * (sx - dx) + Math.sin(turn) * (sy - dy);
      const y = Math.cos(turn) * (sy - dy) - Math.sin(turn) * (sx - dx);
      const angle = Math.atan2(y, x);
      const edgeAt = radius * (1 + waves.reduce((sum, w) => sum + w.height * Math.sin(w.k * angle + w.phase), 0));
      const distance = Math.hypot(x, y) / edgeAt;
      const inside = Math.min(1, Math.max(0, (1.08 - distance) / 0.2));
      const shade = light * (1 - 0.12 * (sx * sx + sy * sy));
      const hair = hairs.some(([hx, hy, a]) => Math.abs(Math.cos(a) * (x - hx) + Math.sin(a) * (y - hy)) < 0.016)
        ? 0.55
        : 1;
      for (let c = 0; c < 3; c++) {
        let lesion = brown[c] * (malign ? 1 : 0.86 + 0.2 * distance);
        for (const s of spots) {
          const near = Math.max(0, 1 - Math.hypot(x - s.x, y - s.y) / s.r);
          lesion += (s.colour[c] - lesion) * Math.min(0.85, near * 1.3);
        }
        out[(py * edge + px) * 3 + c] = (skin[c] + (lesion - skin[c]) * inside) * shade * hair;
      }
    }
  }
  return out;
}
