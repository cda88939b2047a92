/** How the pixels of a DICOM file are packed, by the UID of its transfer syntax (PS3.5, annex A; PS3.6, table A-1). */

export type Packing =
  | 'native'
  | 'rle'
  | 'jpeg-8-bit'
  | 'jpeg-extended'
  | 'jpeg-lossless'
  | 'jpeg-ls'
  | 'jpeg-2000'
  | 'htj2k'
  | 'deflated-frames';

export interface TransferSyntax {
  readonly uid: string;
  readonly name: string;
  readonly packing: Packing;
  readonly bigEndian: boolean;
  /** The same values come out that went in. */
  readonly lossless: boolean;
}

const row = (uid: string, name: string, packing: Packing, lossless = true, bigEndian = false): TransferSyntax => ({
  uid: `1.2.840.10008.1.2${uid}`,
  name,
  packing,
  lossless,
  bigEndian,
});

const TABLE: readonly TransferSyntax[] = [
  row('', 'implicit little endian', 'native'),
  row('.1', 'explicit little endian', 'native'),
  row('.1.99', 'deflated explicit little endian', 'native'),
  row('.2', 'explicit big endian', 'native', true, true),
  row('.5', 'RLE', 'rle'),
  row('.4.50', 'JPEG baseline', 'jpeg-8-bit', false),
  row('.4.51', 'JPEG extended', 'jpeg-extended', false),
  row('.4.57', 'JPEG lossless', 'jpeg-lossless'),
  row('.4.70', 'JPEG lossless, first order', 'jpeg-lossless'),
  row('.4.80', 'JPEG-LS lossless', 'jpeg-ls'),
  row('.4.81', 'JPEG-LS near lossless', 'jpeg-ls', false),
  row('.4.90', 'JPEG 2000 lossless', 'jpeg-2000'),
  row('.4.91', 'JPEG 2000', 'jpeg-2000', false),
  row('.4.201', 'HTJ2K lossless', 'htj2k'),
  row('.4.202', 'HTJ2K lossless, RPCL', 'htj2k'),
  row('.4.203', 'HTJ2K', 'htj2k', false),
  row('.8.1', 'deflated frames', 'deflated-frames'),
];
const BY_UID = new Map(TABLE.map((syntax) => [syntax.uid, syntax]));

/** Known and not read, with why. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/^1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.\d+)?$/, 'video (MPEG) is not read'],
  [/^1\.2\.840\.10008\.1\.2\.4\.9[2345]$/, 'JPEG 2000 part 2 and JPIP are not read'],
  [/^1\.2\.840\.10008\.1\.2\.4\.20[45]$/, 'JPIP is not read'],
  [/^1\.2\.840\.10008\.1\.2\.4\.11[0-2]$/, 'JPEG XL is not read'],
  [/^1\.2\.840\.10008\.1\.2\.4\.(5[2-689]|6\d)$/, 'a retired JPEG process is not read'],
];

export const IMPLICIT_LITTLE = '1.2.840.10008.1.2';
export const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';

export const transferSyntax = (uid: string): TransferSyntax | undefined => BY_UID.get(uid);

/** Why a UID that is not in the table is refused. */
export const whyNotRead = (uid: string): string =>
  REFUSED.find(([pattern]) => pattern.test(uid))?.[1] ?? 'its transfer syntax is not known';
