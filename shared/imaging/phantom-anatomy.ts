/**
 * Drawings of what a radiologist's archive holds, from ellipses and rods: made up, not traced from any image.
 * `body` decides the patient's anatomy; the plate's pose and the tone belong to one exposure.
 */
import type { Plate } from './plate.ts';
import type { Seeded } from './seeded.ts';

/** Draws one class; must draw the same numbers from `body` in the same order whatever the pose. */
export type Draw = (plate: Plate, body: Seeded) => void;

const SIDES = [-1, 1] as const;

/** Frontal chest radiograph: lungs, ribs, spine, heart shadow, diaphragm, collar bones. */
export const drawChest: Draw = (plate, body) => {
  const width = body.normal(1.03, 0.05);
  const lung = { rx: 0.35 * width * body.normal(1, 0.05), ry: body.normal(0.7, 0.04), add: body.normal(-0.68, 0.04) };
  const heart = { rx: body.normal(0.31, 0.035), ry: body.normal(0.24, 0.02), turn: body.normal(0.55, 0.1) };
  const dome = body.normal(0.7, 0.035);
  const ribs = body.normal(0.15, 0.025);
  const slope = body.normal(0.26, 0.04);

  plate.ellipse(0, 0.52, 1.25 * width, 1.42, { add: 0.88, soft: 0.2 });
  plate.rod(0, -1.5, 0, -0.7, 0.26, 0.34, { add: 0.3 });
  for (const side of SIDES) {
    plate.rod(side * 0.85, -0.42, side * 1.15, 0.6, 0.24, 0.2, { add: 0.25 });
    plate.ellipse(side * 0.44 * width, -0.06, lung.rx, lung.ry, {
      add: lung.add,
      soft: 0.2,
      egg: 0.3,
      turn: -side * 0.1,
    });
    plate.ellipse(side * 0.52 * width, dome + 0.42 - (side < 0 ? 0.06 : 0), 0.5, 0.45, { add: 0.5, soft: 0.3 });
    plate.rod(side * 0.06, -0.6, side * 0.4, -0.68, 0.04, 0.034, { add: 0.2 });
    plate.rod(side * 0.4, -0.68, side * 0.74 * width, -0.72, 0.034, 0.045, { add: 0.2 });
    for (let k = 0; k < 7; k++) rib(plate, side, width, -0.58 + k * 0.17, slope, ribs);
  }
  plate.ellipse(0, -0.05, 0.15, 0.74, { add: 0.45, soft: 0.5 });
  plate.rod(0, -1.2, 0, 1.2, 0.085, 0.1, { add: 0.22 });
  plate.ellipse(0.1, -0.27, 0.12, 0.13, { add: 0.25, soft: 0.5 });
  plate.ellipse(0.17, 0.28, heart.rx, heart.ry, { add: 0.62, soft: 0.4, turn: heart.turn });
};

function rib(plate: Plate, side: number, width: number, top: number, slope: number, add: number): void {
  const point = (t: number): [number, number] => [
    side * width * (0.1 + 0.68 * Math.sin(t * 1.5)),
    top + slope * t * t * 1.2 - 0.06 * Math.sin(t * Math.PI),
  ];
  for (let k = 0; k < 4; k++) {
    const [x0, y0] = point(k / 4);
    const [x1, y1] = point((k + 1) / 4);
    plate.rod(x0, y0, x1, y1, 0.032, 0.032, { add });
  }
}

/** The same chest with patchy consolidation: cloudy white areas in one or both lungs. */
export const drawPneumonia: Draw = (plate, body) => {
  drawChest(plate, body);
  const worse = body.below(2) === 0 ? -1 : 1;
  for (const side of SIDES) {
    const patches = side === worse ? 5 : body.below(4);
    for (let k = 0; k < patches; k++) {
      const radius = body.uniform(0.14, 0.3);
      const [x, y] = [side * body.uniform(0.25, 0.55), body.uniform(-0.15, 0.5)];
      plate.ellipse(x, y, radius, radius * body.uniform(0.7, 1.1), { add: body.uniform(0.25, 0.45), soft: 0.95 });
    }
  }
};

/** Hand from the front: four fingers of three bones, thumb of two, palm, wrist. */
export const drawHand: Draw = (plate, body) => {
  const mirror = body.below(2) === 0 ? -1 : 1;
  const spread = body.normal(1, 0.16);
  const length = body.normal(1, 0.05);
  const flesh = body.normal(0.36, 0.04);
  const bone = { add: body.normal(0.95, 0.08) };
  const thick = body.normal(1, 0.08);

  plate.ellipse(0, 0.27, 0.37, 0.4, { add: flesh * 1.1, soft: 0.2 });
  plate.rod(0, 0.5, 0, 1.4, 0.24, 0.27, { add: flesh });
  const fingers = [
    { x: -0.28, y: 0.0, angle: -0.24, long: 0.66 },
    { x: -0.1, y: -0.06, angle: -0.07, long: 0.76 },
    { x: 0.09, y: -0.04, angle: 0.09, long: 0.7 },
    { x: 0.26, y: 0.04, angle: 0.26, long: 0.54 },
  ];
  for (const f of fingers) {
    const angle = f.angle * spread + body.normal(0, 0.025);
    const [ux, uy] = [Math.sin(angle) * mirror, -Math.cos(angle)];
    const long = f.long * length * body.normal(1, 0.02);
    const [x, y] = [f.x * mirror, f.y];
    plate.rod(x, y, x + ux * long, y + uy * long, 0.098 * thick, 0.075 * thick, { add: flesh });
    const joint = (from: number, to: number, r: number) =>
      plate.bone(x + ux * long * from, y + uy * long * from, x + ux * long * to, y + uy * long * to, r * thick, bone);
    joint(0.05, 0.44, 0.046);
    joint(0.52, 0.75, 0.041);
    joint(0.83, 0.97, 0.034);
    plate.bone(x * 0.55, 0.5, x * 0.98, y + 0.01, 0.046 * thick, bone);
  }
  thumb(plate, body, mirror, thick, flesh, bone);
  for (let k = 0; k < 7; k++)
    plate.ellipse((-0.15 + 0.1 * (k % 4)) * mirror, 0.58 + 0.1 * Math.floor(k / 4), 0.062, 0.062, {
      add: bone.add * 0.65,
      soft: 0.4,
    });
  plate.bone(-0.1 * mirror, 0.82, -0.11 * mirror, 1.5, 0.1, bone);
  plate.bone(0.13 * mirror, 0.84, 0.13 * mirror, 1.5, 0.065, bone);
};

function thumb(plate: Plate, body: Seeded, mirror: number, thick: number, flesh: number, bone: { add: number }): void {
  const angle = -0.85 + body.normal(0, 0.07);
  const at = (t: number): [number, number] => [(-0.17 + Math.sin(angle) * t) * mirror, 0.5 - Math.cos(angle) * t];
  plate.rod(...at(0), ...at(0.72), 0.13 * thick, 0.085 * thick, { add: flesh });
  plate.bone(...at(0.02), ...at(0.3), 0.052 * thick, bone);
  plate.bone(...at(0.37), ...at(0.53), 0.046 * thick, bone);
  plate.bone(...at(0.6), ...at(0.7), 0.038 * thick, bone);
}

/** Axial head CT: scalp, skull ring, brain, midline, dark ventricles. */
export const drawHead: Draw = (plate, body) => {
  const [rx, ry] = [body.normal(0.67, 0.03), body.normal(0.84, 0.03)];
  const wall = body.normal(0.085, 0.01);
  const ventricle = body.normal(1, 0.18);
  const brain = body.normal(0.68, 0.03);
  plate.ellipse(0, 0, rx + 0.06, ry + 0.06, { add: 0.25, soft: 0.05 });
  plate.ellipse(0, 0, rx, ry, { add: 2.2, soft: 0.04 });
  plate.ellipse(0, 0, rx - wall, ry - wall, { add: brain - 2.45, soft: 0.05 });
  plate.ellipse(0, 0, rx - wall - 0.08, ry - wall - 0.08, { add: -0.06, soft: 0.2 });
  plate.rod(0, -ry + wall, 0, -0.36, 0.018, 0.014, { add: 0.25 });
  plate.rod(0, 0.42, 0, ry - wall, 0.014, 0.02, { add: 0.25 });
  for (const side of SIDES) {
    const dark = { add: -0.36 };
    plate.rod(side * 0.05, -0.08, side * 0.15, -0.28, 0.055 * ventricle, 0.045 * ventricle, dark);
    plate.rod(side * 0.1, 0.14, side * 0.22, 0.34, 0.045 * ventricle, 0.07 * ventricle, dark);
    plate.ellipse(side * 0.2, -0.02, 0.1, 0.18, { add: 0.14, soft: 0.6 });
    plate.ellipse(side * 0.3, 0, 0.16, 0.5, { add: -0.08, soft: 0.6, turn: side * 0.1 });
    for (let k = 0; k < 6; k++) {
      const angle = -1.25 + k * 0.5 + body.normal(0, 0.08);
      const [x, y] = [side * Math.cos(angle) * (rx - wall - 0.06), Math.sin(angle) * (ry - wall - 0.06)];
      plate.rod(x, y, x * 0.8, y * 0.8, 0.022, 0.012, { add: -0.2 });
    }
  }
};

/** Knee from the front: femur with two condyles, joint gap, tibia, fibula, kneecap. */
export const drawKnee: Draw = (plate, body) => {
  const side = body.below(2) === 0 ? -1 : 1;
  const wide = body.normal(1, 0.06);
  const gap = body.normal(0.055, 0.012);
  const bone = { add: body.normal(0.85, 0.06), shell: 0.4 };
  const flesh = body.normal(0.34, 0.04);
  plate.rod(0, -1.5, 0, 0, 0.68 * wide, 0.56 * wide, { add: flesh });
  plate.rod(0, 0, 0, 1.5, 0.56 * wide, 0.54 * wide, { add: flesh });
  plate.rod(0, 0, 0, 0.01, 0.56 * wide, 0.56 * wide, { add: -flesh });
  plate.rod(0, -1.5, 0, -0.42, 0.18 * wide, 0.21 * wide, bone);
  plate.ellipse(0, -0.3, 0.33 * wide, 0.22, { add: bone.add * 0.5, soft: 0.4 });
  for (const k of SIDES) {
    plate.ellipse(k * 0.2 * wide, -0.2, 0.24 * wide, 0.2, { add: bone.add * 0.75, soft: 0.2 });
    plate.ellipse(k * 0.2 * wide, gap + 0.13, 0.24 * wide, 0.13, { add: bone.add * 0.75, soft: 0.25 });
  }
  plate.rod(0, gap + 0.3, 0.02 * side, 1.5, 0.29 * wide, 0.15 * wide, bone);
  plate.rod(0.36 * side * wide, gap + 0.36, 0.34 * side * wide, 1.5, 0.085, 0.06, bone);
  plate.ellipse(0, body.normal(-0.3, 0.04), 0.16, 0.17, { add: 0.28, soft: 0.3 });
};

/** Axial abdomen CT: fat, muscle, liver, kidneys, vertebra, gas in the bowel. */
export const drawAbdomen: Draw = (plate, body) => {
  const [rx, ry] = [body.normal(0.88, 0.03), body.normal(0.66, 0.03)];
  const fat = body.normal(0.1, 0.02);
  plate.ellipse(0, 0, rx, ry, { add: 0.28, soft: 0.04 });
  plate.ellipse(0, 0, rx - fat, ry - fat, { add: 0.28, soft: 0.06 });
  plate.ellipse(-0.34, -0.1, 0.4 * body.normal(1, 0.06), 0.4, { add: 0.4, soft: 0.2, turn: 0.35, egg: -0.2 });
  plate.ellipse(0.48, 0.0, 0.14, 0.22, { add: 0.35, soft: 0.25, turn: -0.3 });
  for (const side of SIDES) {
    plate.ellipse(side * 0.38, 0.25, 0.12, 0.16, { add: 0.55, soft: 0.3, turn: side * 0.4 });
    plate.ellipse(side * 0.25, 0.45, 0.2, 0.12, { add: 0.2, soft: 0.4 });
  }
  plate.ellipse(0, 0.25, 0.15, 0.13, { add: 1.5, soft: 0.25 });
  plate.rod(0, 0.36, 0, 0.54, 0.05, 0.035, { add: 1.2 });
  plate.rod(-0.16, 0.42, 0.16, 0.42, 0.03, 0.03, { add: 0.8 });
  plate.ellipse(0.04, 0.05, 0.07, 0.07, { add: 0.6, soft: 0.4 });
  for (let k = 0; k < 5; k++) {
    const [x, y] = [body.uniform(0, 0.6), body.uniform(-0.42, -0.12)];
    plate.ellipse(x, y, body.uniform(0.06, 0.13), body.uniform(0.05, 0.09), { add: -0.5, soft: 0.4 });
  }
};
