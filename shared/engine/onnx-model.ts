import protobuf from 'protobufjs/minimal.js';
import type { Attribute, Constant, FinishedGraph, Node, Value, ValueType } from './graph.ts';

/**
 * A finished graph as the bytes of an ONNX ModelProto.
 *
 * Fixed at IR version 8 and opset 17, so that the file also opens in onnx 1.12 and in every ONNX Runtime since 1.14.
 * Only the few messages and fields below are written; the numbers are those of the format's own schema.
 *
 * @see https://github.com/onnx/onnx/blob/v1.12.0/onnx/onnx.proto
 */

export const IR_VERSION = 8;
export const OPSET_VERSION = 17;

const ELEMENT_TYPE: Record<ValueType, number> = { float32: 1, int32: 6, int64: 7, bool: 9 };
const ATTRIBUTE_TYPE = { float: 1, int: 2, text: 3, tensor: 4, ints: 7 } as const;

type Writer = protobuf.Writer;
type Fill = (writer: Writer) => void;

/** A length-delimited field: tag, then what `fill` writes. */
const message = (writer: Writer, field: number, fill: Fill): void => {
  fill(writer.uint32((field << 3) | 2).fork());
  writer.ldelim();
};
const varint = (writer: Writer, field: number, value: number) => writer.uint32(field << 3).int64(value);
const string = (writer: Writer, field: number, value: string) => writer.uint32((field << 3) | 2).string(value);
const bytes = (writer: Writer, field: number, value: Uint8Array) => writer.uint32((field << 3) | 2).bytes(value);

/** Little-endian bytes, as the format asks; every machine Node runs on is little-endian. */
function rawData({ values, dtype }: Constant): Uint8Array {
  const view = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if (dtype === 'float32') return view(Float32Array.from(values));
  if (dtype === 'int32') return view(Int32Array.from(values));
  if (dtype === 'bool') return Uint8Array.from(values);
  return view(BigInt64Array.from(Array.from(values, BigInt)));
}

const tensorProto =
  (constant: Constant, name: string): Fill =>
  (w) => {
    for (const n of constant.shape) varint(w, 1, n);
    varint(w, 2, ELEMENT_TYPE[constant.dtype]);
    if (name !== '') string(w, 8, name);
    bytes(w, 9, rawData(constant));
  };

const attributeProto =
  (name: string, attribute: Attribute): Fill =>
  (w) => {
    string(w, 1, name);
    if ('float' in attribute) w.uint32((2 << 3) | 5).float(attribute.float);
    else if ('int' in attribute) varint(w, 3, attribute.int);
    else if ('text' in attribute) string(w, 4, attribute.text);
    else if ('tensor' in attribute) message(w, 5, tensorProto(attribute.tensor, ''));
    else for (const n of attribute.ints) varint(w, 8, n);
    const kind = Object.keys(attribute)[0] as keyof typeof ATTRIBUTE_TYPE;
    varint(w, 20, ATTRIBUTE_TYPE[kind]);
  };

const nodeProto =
  (node: Node): Fill =>
  (w) => {
    for (const id of node.inputs) string(w, 1, id);
    for (const id of node.outputs) string(w, 2, id);
    string(w, 4, node.op);
    for (const [name, attribute] of Object.entries(node.attributes)) message(w, 5, attributeProto(name, attribute));
  };

/** ValueInfoProto: name, then TypeProto { tensor_type { elem_type, shape } }. */
const valueInfo =
  (name: string, value: Value, batchAxis: string | undefined): Fill =>
  (w) => {
    string(w, 1, name);
    message(w, 2, (type) => {
      message(type, 1, (tensor) => {
        varint(tensor, 1, ELEMENT_TYPE[value.dtype]);
        message(tensor, 2, (shape) => {
          value.shape.forEach((n, axis) => {
            message(shape, 1, (dimension) => {
              if (axis === 0 && batchAxis !== undefined) string(dimension, 2, batchAxis);
              else varint(dimension, 1, n);
            });
          });
        });
      });
    });
  };

/** @param batchAxis - when given, the name of axis 0 of every input and output, whose length is then free. */
export function encodeOnnx(graph: FinishedGraph, batchAxis?: string): Uint8Array {
  const root = protobuf.Writer.create();
  varint(root, 1, IR_VERSION);
  string(root, 2, 'veilgan');
  message(root, 7, (w) => {
    for (const node of graph.nodes) message(w, 1, nodeProto(node));
    // An output needs a name of its own even when it is an input or serves another output too.
    for (const { name, value } of graph.outputs)
      message(w, 1, nodeProto({ op: 'Identity', inputs: [value.id], outputs: [name], attributes: {} }));
    string(w, 2, graph.name);
    for (const [id, constant] of graph.constants) message(w, 5, tensorProto(constant, id));
    for (const value of graph.inputs) message(w, 11, valueInfo(value.id, value, batchAxis));
    for (const { name, value } of graph.outputs) message(w, 12, valueInfo(name, value, batchAxis));
  });
  message(root, 8, (w) => {
    string(w, 1, '');
    varint(w, 2, OPSET_VERSION);
  });
  return root.finish();
}
