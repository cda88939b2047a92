/** How one picture of a patient lies on the plate. Lengths are in half plate widths. */
export interface Pose {
  readonly dx: number;
  readonly dy: number;
  readonly scale: number;
  /** Radians, clockwise on the screen. */
  readonly turn: number;
}

/** Bone looks hollow on a radiograph: its rim (`shell` of the radius) is denser than its middle. */
export interface BoneLook {
  readonly add: number;
  readonly shell?: number;
}

const clamp01 = (x: number): number => (x > 1 ? 1 : x > 0 ? x : 0);

/**
 * A square plate on which phantoms are drawn by adding up densities, as X-rays do.
 *
 * Coordinates run from -1 (left, top) to 1 (right, bottom) before the pose is applied; density has no unit.
 */
export class Plate {
  readonly edge: number;
  /** [edge, edge] row-major. */
  readonly density: Float32Array;
  readonly #pose: Pose;
  readonly #cos: number;
  readonly #sin: number;

  constructor(edge: number, pose: Pose) {
    this.edge = edge;
    this.density = new Float32Array(edge * edge);
    this.#pose = pose;
    this.#cos = Math.cos(pose.turn);
    this.#sin = Math.sin(pose.turn);
  }

  /**
   * Adds `value(x, y)` at every point within `reach` of (cx, cy); x and y are relative to (cx, cy), before the pose.
   */
  paint(cx: number, cy: number, reach: number, value: (x: number, y: number) => number): void {
    const { dx, dy, scale } = this.#pose;
    const [cos, sin] = [this.#cos, this.#sin];
    const centreX = dx + scale * (cos * cx - sin * cy);
    const centreY = dy + scale * (sin * cx + cos * cy);
    const half = this.edge / 2;
    const from = (c: number) => Math.max(0, Math.floor((c - reach * scale + 1) * half));
    const to = (c: number) => Math.min(this.edge, Math.ceil((c + reach * scale + 1) * half));
    const [x0, x1, y0, y1] = [from(centreX), to(centreX), from(centreY), to(centreY)];
    for (let py = y0; py < y1; py++) {
      const v = ((py + 0.5) / half - 1 - centreY) / scale;
      for (let px = x0; px < x1; px++) {
        const u = ((px + 0.5) / half - 1 - centreX) / scale;
        this.density[py * this.edge + px] += value(cos * u + sin * v, cos * v - sin * u);
      }
    }
  }

  /**
   * A filled ellipse that fades out over the outer `soft` of its radius.
   *
   * @param p.egg - in (-1, 1): how much wider the lower end is than the upper one.
   */
  ellipse(
    cx: number,
    cy: number,
    rx: number,
    ry: number,
    p: { add: number; soft?: number; turn?: number; egg?: number },
  ): void {
    const { add, soft = 0.12, turn = 0, egg = 0 } = p;
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    this.paint(cx, cy, Math.max(rx, ry) * (1 + Math.abs(egg)), (x, y) => {
      const v = (cos * y - sin * x) / ry;
      const u = (cos * x + sin * y) / (rx * (1 + egg * v));
      const r2 = u * u + v * v;
      return r2 >= 1 ? 0 : add * clamp01((1 - Math.sqrt(r2)) / soft);
    });
  }

  /** A tapered rod from (x0, y0) to (x1, y1) with radii r0 and r1 and round ends. */
  rod(x0: number, y0: number, x1: number, y1: number, r0: number, r1: number, look: BoneLook): void {
    const { add, shell = 0 } = look;
    const [cx, cy, lx, ly] = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0];
    const length2 = Math.max(1e-9, lx * lx + ly * ly);
    this.paint(cx, cy, Math.sqrt(length2) / 2 + Math.max(r0, r1), (x, y) => {
      const t = clamp01((x * lx + y * ly) / length2 + 0.5);
      const r = r0 + (r1 - r0) * t;
      const distance = Math.hypot(x - (t - 0.5) * lx, y - (t - 0.5) * ly) / r;
      if (distance >= 1) return 0;
      // The outer eighth fades, so that edges are not jagged; the middle is `shell` less dense than the rim.
      return add * Math.min(1, (1 - distance) * 8) * (1 - shell * (1 - distance * distance));
    });
  }

  /** A long bone: a rod with thicker ends. */
  bone(x0: number, y0: number, x1: number, y1: number, r: number, look: BoneLook): void {
    this.rod(x0, y0, x1, y1, r, r, { shell: 0.45, ...look });
    for (const t of [0.06, 0.94])
      this.ellipse(x0 + t * (x1 - x0), y0 + t * (y1 - y0), r * 1.25, r * 1.25, { add: look.add * 0.4, soft: 0.4 });
  }
}
