/** Files in which every text that may name somebody carries a mark, to see where it turns up. */
import type { Elements } from './dicom-write.ts';

export const MARK = 'QXMARKQX';

/** Every value representation that holds text or bytes, public, private, nested and in the file's own head. */
export const marked = (patient: string): Elements => ({
  '00080005': ['CS', 'ISO_IR 100'],
  '00080018': ['UI', `1.2.${MARK}`],
  '00080020': ['DA', MARK],
  '00080030': ['TM', MARK],
  '00080050': ['SH', MARK],
  '00080080': ['LO', `${MARK} hospital`],
  '00080090': ['PN', `${MARK}^DOCTOR`],
  '00081030': ['LO', MARK],
  '0008103e': ['LO', MARK],
  '00081070': ['PN', MARK],
  '00081140': ['SQ', [{ '00100010': ['PN', MARK], '00081155': ['UI', MARK] }]],
  '00091001': ['UN', Buffer.from(MARK)],
  '00091010': ['LO', MARK],
  '00100010': ['PN', `${MARK}^JANE`],
  '00100020': ['LO', `${MARK}-${patient}`],
  '00100021': ['LO', MARK],
  '00100030': ['DA', MARK],
  '00101000': ['LO', MARK],
  '00101010': ['AS', MARK],
  '00104000': ['LT', `${MARK} ${MARK}`],
  '00181030': ['LO', MARK],
  '0020000d': ['UI', MARK],
  '00200010': ['SH', MARK],
  '00204000': ['LT', MARK],
  '00281055': ['LO', MARK],
  '00400275': ['SQ', [{ '00321060': ['LO', MARK], '00400007': ['LO', MARK] }]],
  '0040a124': ['UI', MARK],
  '0040a730': ['SQ', [{ '0040a160': ['UT', MARK.repeat(50)] }]],
  '50000030': ['SH', MARK],
  '60003000': ['OB', Buffer.from(MARK)],
});

/** Whether a mark is among these bytes. */
export const holdsMark = (bytes: Uint8Array | string): boolean => {
  const all = Buffer.from(bytes);
  // Also two bytes a character, as V8 and Windows write text.
  return all.includes(MARK) || all.includes(Buffer.from(MARK, 'utf16le'));
};
