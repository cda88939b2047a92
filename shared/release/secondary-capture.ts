/**
 * A synthetic image as a DICOM Secondary Capture. There is no patient behind it: one made-up patient, one study and a
 * series a class stand for the whole release, so that archives which want them get them, and no two images pretend to be
 * of two people. Everything in the file follows from the release.
 *
 * Marked by Synthetic Data (0008,001C) YES; Image Type DERIVED; Conversion Type SYN; Contributing Equipment with the
 * purpose "Synthesizing Equipment"; Patient Identity Removed YES with its method; and in words, in every text that a
 * viewer is likely to show. @see DICOM PS3.3, sections A.8.1 and C.12.1
 */
import { dicomBytes, type Element, fitText } from '../imaging/dicom-elements.ts';
import type { Samples } from '../imaging/quantise.ts';
import { MANIFEST_FILE, recipeId, SIGNATURE_FILE } from './manifest.ts';
import { type Origin, SAY } from './provenance.ts';
import { syntheticUid } from './uid.ts';

const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';
const IMPLEMENTATION = { uid: syntheticUid('veilgan', 'implementation'), name: 'VEILGAN' };

export interface CaptureOf {
  readonly size: number;
  readonly channels: 1 | 3;
  /** [size, size, channels] interleaved; 16 bits for grey images alone. */
  readonly samples: Samples;
  /** Label number, and its name. */
  readonly label: number;
  readonly className: string;
  /** From 1, within its class. */
  readonly number: number;
}

/** What all images of a release have in common. */
export function captureWriter(origin: Origin): (image: CaptureOf) => Buffer {
  const release = recipeId(origin.recipe);
  const uid = (name: string) => syntheticUid(release, name);
  const made = `Release ${release} of run ${origin.recipe.runId}, generator ${origin.recipe.modelSha256}, policy ${origin.recipe.policySha256}; ${MANIFEST_FILE}, signed in ${SIGNATURE_FILE} by key ${origin.kid}.`;
  const version = origin.recipe.tool.split(' ').at(-1) ?? '';
  const common: Element[] = [
    ['00080005', 'CS', 'ISO_IR 192'],
    ['00080008', 'CS', 'DERIVED\\SECONDARY'],
    ['00080016', 'UI', SECONDARY_CAPTURE],
    ['0008001c', 'CS', 'YES'],
    // Known to nobody, because nothing was examined: present and empty, as type 2 wants them.
    ['00080020', 'DA', ''],
    ['00080030', 'TM', ''],
    ['00080050', 'SH', ''],
    ['00080090', 'PN', ''],
    ['00100030', 'DA', ''],
    ['00100040', 'CS', ''],
    ['00080060', 'CS', 'OT'],
    ['00080064', 'CS', 'SYN'],
    ['00080070', 'LO', 'VeilGAN'],
    ['00081030', 'LO', 'SYNTHETIC: NO PATIENT WAS EXAMINED'],
    ['00082111', 'ST', fitText('ST', `${SAY} ${made}`)],
    ['00100010', 'PN', 'SYNTHETIC^NO PATIENT'],
    ['00100020', 'LO', `SYNTHETIC-${release.slice(0, 16)}`],
    ['00120062', 'CS', 'YES'],
    ['00120063', 'LO', 'Synthetic pixels; identifiers made up from a digest'],
    ['00181016', 'LO', 'VeilGAN'],
    ['00181018', 'LO', 'synthetic image generator'],
    ['00181019', 'LO', fitText('LO', version)],
    ['0018a001', 'SQ', [synthesizer(origin, version, made)]],
    ['0020000d', 'UI', uid('study')],
    ['00200010', 'SH', 'SYNTHETIC'],
    ['00200020', 'CS', ''],
    ['00200060', 'CS', ''],
    ['00204000', 'LT', SAY],
    // So little is written into the pixels that nobody is named by it, also where SYN is.
    ['00280301', 'CS', 'NO'],
  ];
  return (image) => {
    const sopInstance = uid(`image ${image.label} ${image.number}`);
    const elements: Element[] = [
      ...common,
      ['00080018', 'UI', sopInstance],
      ['0008103e', 'LO', fitText('LO', `SYNTHETIC ${image.className}`)],
      ['0020000e', 'UI', uid(`series ${image.label}`)],
      ['00200011', 'IS', String(image.label + 1)],
      ['00200013', 'IS', String(image.number)],
      ...pixelModule(image),
    ];
    return dicomBytes(elements, { sopClass: SECONDARY_CAPTURE, sopInstance, implementation: IMPLEMENTATION });
  };
}

const synthesizer = ({ recipe: { tool } }: Origin, version: string, made: string): Element[] => [
  ['00080070', 'LO', 'VeilGAN'],
  ['00081090', 'LO', fitText('LO', tool)],
  ['00181020', 'LO', fitText('LO', version)],
  ['0018a003', 'ST', fitText('ST', made)],
  [
    '0040a170',
    'SQ',
    [
      [
        ['00080100', 'SH', '109100'],
        ['00080102', 'SH', 'DCM'],
        ['00080104', 'LO', 'Synthesizing Equipment'],
      ],
    ],
  ],
];

function pixelModule({ size, channels, samples }: CaptureOf): Element[] {
  const bits = samples instanceof Uint16Array ? 16 : 8;
  const grey: Element[] = [
    ['00281050', 'DS', String(2 ** (bits - 1))],
    ['00281051', 'DS', String(2 ** bits)],
  ];
  const colour: Element[] = [['00280006', 'US', [0]]];
  return [
    ['00280002', 'US', [channels]],
    ['00280004', 'CS', channels === 3 ? 'RGB' : 'MONOCHROME2'],
    ['00280010', 'US', [size]],
    ['00280011', 'US', [size]],
    ['00280100', 'US', [bits]],
    ['00280101', 'US', [bits]],
    ['00280102', 'US', [bits - 1]],
    ['00280103', 'US', [0]],
    ...(channels === 3 ? colour : grey),
    ['7fe00010', bits === 16 ? 'OW' : 'OB', Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)],
  ];
}
