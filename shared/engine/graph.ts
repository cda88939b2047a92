/**
 * An ONNX graph under construction: values, nodes, constants.
 *
 * It is where the kernels write. Two rules keep the graph small whatever tfjs' autodiff asks for: an operation that
 * is already in the graph is not added again (all operators used are deterministic), and reshapes and transposes of
 * reshapes and transposes are merged. What no output needs is dropped at the end.
 */

export type ValueType = 'float32' | 'int32' | 'bool' | 'int64';

/** One tensor in the graph. */
export interface Value {
  readonly id: string;
  readonly shape: readonly number[];
  readonly dtype: ValueType;
}

export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly text: string }
  | { readonly tensor: Constant };

/** Values of a constant; `int64` is held as Int32Array or number[] and widened when written. */
export interface Constant {
  readonly shape: readonly number[];
  readonly dtype: ValueType;
  readonly values: ArrayLike<number>;
}

export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface FinishedGraph {
  readonly name: string;
  readonly inputs: readonly Value[];
  /** Value and the name it has outside. */
  readonly outputs: readonly { readonly name: string; readonly value: Value }[];
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Constant>;
}

export const int = (value: number): Attribute => ({ int: value });
export const ints = (values: readonly number[]): Attribute => ({ ints: values });
export const float = (value: number): Attribute => ({ float: value });
export const text = (value: string): Attribute => ({ text: value });

/** Constants up to this many elements are compared, so that equal ones are stored once. */
const SHARED_CONSTANT_ELEMENTS = 64;

const sameList = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((x, i) => x === b[i]);

export class Graph {
  readonly #inputs: Value[] = [];
  readonly #nodes: Node[] = [];
  readonly #constants = new Map<string, Constant>();
  readonly #known = new Map<string, readonly Value[]>();
  /** How a reshape or transpose was made, so that the next one can start from its source. */
  readonly #source = new Map<string, { from: Value; perm?: readonly number[] }>();
  #count = 0;

  #fresh(): string {
    return `/${this.#count++}`;
  }

  input(name: string, shape: readonly number[], dtype: ValueType): Value {
    const value = { id: name, shape, dtype };
    this.#inputs.push(value);
    return value;
  }

  /** A constant. Large ones of a single repeated value are written as that value and a shape. */
  constant(values: ArrayLike<number>, shape: readonly number[], dtype: ValueType): Value {
    const first = values.length > SHARED_CONSTANT_ELEMENTS ? values[0] : undefined;
    if (first !== undefined && Array.prototype.every.call(values, (x: number) => Object.is(x, first))) {
      const attributes = { value: { tensor: { shape: [1], dtype, values: [first] } } };
      return this.add('ConstantOfShape', [this.ints(shape)], shape, dtype, attributes);
    }
    const small = values.length <= SHARED_CONSTANT_ELEMENTS;
    // Array.from and not the typed array itself: -0 must not be taken for 0.
    const key = small
      ? `${dtype}[${shape.join()}]${Array.from(values, (x) => (Object.is(x, -0) ? '-0' : x)).join()}`
      : '';
    const known = small ? this.#known.get(key) : undefined;
    if (known) return known[0];
    const value = { id: this.#fresh(), shape, dtype };
    this.#constants.set(value.id, { values, shape, dtype });
    if (small) this.#known.set(key, [value]);
    return value;
  }

  /** A scalar constant of the type of `like`. */
  scalar(value: number, dtype: ValueType): Value {
    return this.constant([value], [], dtype);
  }

  /** A one-dimensional int64 constant: shapes, axes, pads. */
  ints(values: readonly number[]): Value {
    return this.constant(values, [values.length], 'int64');
  }

  /** Adds a node with one output. `null` stands for an optional input left out. */
  add(
    op: string,
    inputs: readonly (Value | null)[],
    shape: readonly number[],
    dtype: ValueType,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value {
    return this.addMany(op, inputs, [{ shape, dtype }], attributes)[0];
  }

  addMany(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: readonly { shape: readonly number[]; dtype: ValueType }[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): readonly Value[] {
    const ids = inputs.map((value) => value?.id ?? '');
    const plain = JSON.stringify(attributes, (_, x: unknown) =>
      typeof x === 'number' && !Number.isFinite(x) ? String(x) : x,
    );
    const key = `${op}(${ids.join()})${outputs.length}${plain}`;
    const known = this.#known.get(key);
    if (known) return known;
    const values = outputs.map(({ shape, dtype }) => ({ id: this.#fresh(), shape, dtype }));
    this.#nodes.push({ op, inputs: ids, outputs: values.map(({ id }) => id), attributes });
    this.#known.set(key, values);
    return values;
  }

  reshape(x: Value, shape: readonly number[]): Value {
    if (sameList(x.shape, shape)) return x;
    const source = this.#source.get(x.id);
    if (source && source.perm === undefined) return this.reshape(source.from, shape);
    const y = this.add('Reshape', [x, this.ints(shape)], shape, x.dtype);
    this.#source.set(y.id, { from: x });
    return y;
  }

  transpose(x: Value, perm: readonly number[]): Value {
    if (perm.every((axis, i) => axis === i)) return x;
    const source = this.#source.get(x.id);
    if (source?.perm) {
      const inner = source.perm;
      return this.transpose(
        source.from,
        perm.map((axis) => inner[axis]),
      );
    }
    const y = this.add(
      'Transpose',
      [x],
      perm.map((axis) => x.shape[axis]),
      x.dtype,
      { perm: ints(perm) },
    );
    this.#source.set(y.id, { from: x, perm });
    return y;
  }

  cast(x: Value, dtype: ValueType): Value {
    if (x.dtype === dtype) return x;
    const code = { float32: 1, int32: 6, int64: 7, bool: 9 }[dtype];
    return this.add('Cast', [x], x.shape, dtype, { to: int(code) });
  }

  /** Closes the graph. Nodes and constants that no output needs are left out; every input stays. */
  finish(name: string, outputs: readonly { name: string; value: Value }[]): FinishedGraph {
    const needed = new Set(outputs.map(({ value }) => value.id));
    const nodes = this.#nodes.toReversed().filter((node) => {
      if (!node.outputs.some((id) => needed.has(id))) return false;
      for (const id of node.inputs) needed.add(id);
      return true;
    });
    const constants = new Map([...this.#constants].filter(([id]) => needed.has(id)));
    return { name, inputs: this.#inputs, outputs, nodes: nodes.toReversed(), constants };
  }
}
