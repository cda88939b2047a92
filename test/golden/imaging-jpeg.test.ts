import { expect, test } from 'vitest';
import type { ImageDescription } from '../../site-agent/imaging/dicom/description.ts';
import { decodeJpegExtended } from '../../site-agent/imaging/dicom/jpeg-extended.ts';
import { decodeJpegLossless } from '../../site-agent/imaging/dicom/jpeg-lossless.ts';

// Source: dcmtk 3.6.7, `dcmcjpeg +el +sv N` (predictors 1 to 7), `+sv 6 +pt 2` (point transform), `+sv 4` on 8 bits, and
// `+ee +bt +q 95`, of the picture that `value` draws; the last is held to what `dcmdjpeg` makes of it.
const [WIDTH, HEIGHT] = [20, 11];
const value = (x: number, y: number): number =>
  Math.min(4095, x * 150 + y * 90 + ((x * 7 + y * 13) % 5) * 40 + (x > 9 && y > 4 ? 900 : 0));
const drawn = Array.from({ length: WIDTH * HEIGHT }, (_, i) => value(i % WIDTH, Math.floor(i / WIDTH)));

const described = (bits: 8 | 16, stored: number): ImageDescription => ({ rows: HEIGHT, columns: WIDTH, samples: 1, photometric: 'MONOCHROME2', bitsAllocated: bits, bitsStored: stored, highBit: stored - 1, signed: false, float: false, planar: false, frames: 1, pixels: 'x7fe00010' }); // prettier-ignore
const words = (bytes: Uint8Array): number[] => [...new Uint16Array(bytes.slice().buffer)];

// prettier-ignore
const LOSSLESS: readonly (readonly [name: string, packed: string])[] = [
  ['predictor 1', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHAABAQACAwEBAAAAAAAAAAAACAUABAYKCwMQ/9oACAEBAAEAAPzmc15zXnM5rzmvOZzXnNeczmvOZpXnM5rzmvOZzXnNeczmvOa85nNe2nNeczmvOa85nNec15zOa85rzmczSvOa85nNec15zOa85rzmc15zXnNtOa85rzmc15zXnM5rzmvOZzXnNe2nM5rzmvOZzXnN3onM5rzmvOZzXvq0rzmc15zXnM5r3o1XnM5rzmvOazm05rzmc15zXnM5u9E5rzmc15zXt/Glec15zOa85rzm9Gq85rzmc17keZtOa85rzmc15zXvRqc15zXnNzfMzaczmvOa85nNec3eiczmvOa9y3Mz/9k='],
  ['predictor 2', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHAABAQADAQADAAAAAAAAAAAABAgABQoLAwYQ/9oACAEBAAIAAP1zXNvrm31zXNvrm31zXNvrm31zXNvrmtJSrSVaSlWkq0lKtJVpKVaSlWkpVpKtJSrSVaSlWkq0lKtK0lWkpVpKtJSrSVaSlWkq0lKVaSrSUq0lWkpVpKtJSrSVaSlKtJVpKVaSrS7ju470Vu470Vu47uO9FbuO7dbSUq0lWkpVpKtJSrSVaSlfLirSUq0lWkpVpKtJSrSVaSsy0lWkpVpKtJSrSVaSlWkp+Yq0lWkpVpKtJSrSVaSlfY8zFKtJVpKVaSrSUq0lWkrMzP//2Q=='],
  ['predictor 3', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHQABAAIDAAMBAAAAAAAAAAAACAULAAQGAwcKEP/aAAgBAQADAAD85nNPOaeczmnnNPOZzTzmnnM5p5zNJ4PB4PB4PB4PB4PB4PB4PB4PB4PB4bTweDweDweDweDweDweDweDweDweDwaTweDweDweDweDweDweDweDweDweDw2ng8Hg8Hg8Hg8Hg8Hg8Hg8Hg8Hg8HhtPB4PB4PB4PB4PCx0sdLHSx0sdLHSx0sdLHT7k2k8Hg8Hg8Hg8Hg8LHR4PB4PB4PB4dH5dp4PB4PB4PB4PB4WOjweDweDweDwmcaTweDweDweDweDwsdHg8Hg8Hg8Ot382ng8Hg8Hg8Hg8HhY6PB4PB4PD2D0eZtPB4PB4PB4PB4PCx0eDweDweHb5mf/2Q=='],
  ['predictor 4', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAGwABAQEBAQADAAAAAAAAAAAACAAEBQMGChD/2gAIAQEABAAA/OZzd5zd5zObvObvOZzd5zd5zObvOZpDeZA3ZA3mQN2QN5kDdkDeZA31MgbzIG7IG8yBuyBvMgbsgbzIaQ3ZA3mQN2QN5kDdkDeZA3ZA3tTIG7IG8yBuyBvMgbsgbzIG7IG+qZA3ZA3mQN2R9ryZA3ZA3mQN+M0hvMgbsgbzIG7IG8yBuyBveXlqZA3mQN2QN5kDdkDeZA3ZA3yzSG7IG8yBuyBvMgbsgbzIG/rgtTIG7IG8yBuyBvMgbsgb3Z+OVqmQN2QN5kDdkDeZA3ZA3y1f/9k='],
  ['predictor 5', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHgABAQACAgIDAAAAAAAAAAAABwgEBQAKAgkDBhD/2gAIAQEABQAA/XNc2+ubfXNc2+ubfXNc2+ubfXNc2+ua0ipztcqtcqc7XKrXKnO1yq1ypztcqyrXKnO1yq1ypztcqtcqc7XKrXKnO17SKrXKnO1yq1ypztcqtcqc7XKrXKnPKtcqtcqc7XKrXKnO1yq1ypztcqtcqynO1yq1ypztcqtfuXudrlVrlTna5Vi2kVOdrlVrlTna5V2mSpztcqtcqc8rxyrXKnO1yq1ypztf222uVOdrlVrlXny0iq1ypztcqtcqc+0yVWuVOdrlW0+DmVa5Va5U52uVWuVdjW1yq1ypz+0a7nMpztcqtcqc7XKrX9trna5Va5Vsuc5////Z'],
  ['predictor 6', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHQABAQEAAgMBAQAAAAAAAAAACAcDAAUECQoCEP/aAAgBAQAGAAD+czm75zd85nN3zm75zObvnN3zmc3fOZpSDVmyBmyDVmyBmyDVmyBmyDVmyDymbINWbIGbINWbIGbINWbIGbINWa0pAzZBqzZAzZBqzZAzZBqzZAzZBr5TNkDNkGrNkDNkGrNkDNkGrNkDNkHlas2QM2Qas2QM37JfeP8AUf7Y/qP9sfvH+o/2x+65pSDVmyBmyDVmyBmyDVmyBmyDXn58pmyDVmyBmyDVmyBmyDVmyBmyDLjSkDNkGrNkDNkGrNkDNkGrNkHlYc8pmyBmyDVmyBmyDVmyBmyDXvuu5zytWbIGbINWbIGbINWbIGbIMuc5///Z'],
  ['predictor 7', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHAABAQEAAwEBAQAAAAAAAAAACAUHAAQKCQYQ/9oACAEBAAcAAP5zOa85rzmc15zXnM5rzmvOZzXnM0qm8Nyo3Km8Nyo3Km8Nyo3Km8Nyp2m5U3huVG5U3huVG5U3huVG5U3huNKo3Km8Nyo3Km8Nyo3Km8Nyo3Km8dpuVG5U3huVG5U3huVG5U3huVG5U7W8Nyo3Km8Nyo3Pcx6OvU991vU991vR16nvut9vWlU3huVG5U3huVPU9U3huVG5U3jv87Tcqbw3Kjcqbw3Pus3Km8Nyo3KnY40qjcqbw3Kjcqbx6nqjcqbw3KlnnO03Kjcqbw3KjcqejpuVG5U3j9bznO1vDcqNypvDcqNz7rbw3KjcqV+c5///2Q=='],
  ['point transform', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAALABQBAREA/8QAHQABAQACAwEBAQAAAAAAAAAABgUBAgADBwgEDv/aAAgBAQAGAAL+f/3Lrvdd7pz+hz+hy673Xe6c/octJGWkdpH2ZyGcjLSO0j7M5G7ORlpHaR9mchnIy0jtI+zNpIZyMtI7SPszkM5GWkdpH23ZyGcjLSO0j7M5DORlpHaR9tmchnIy0jtPsn3P6j9a+o/WvcfqX1j2xrH2ZyGcjLSO0j7M5DORnnNmkfZnIZyMtI7SPszkM5GONY7SPszkM5GWkdpH2ZyNsc2aR2kfZnIZyMtI7SPt39fOb5aR2kfZnIZyMtI7SPjnOf/Z'],
  ['8 bits', '/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAALABQBAREA/8QAGQABAQEBAQEAAAAAAAAAAAAABAABAgYI/9oACAEBAAQAAPn9zun693Tunu6d093TmjmCcHWDYLWDYLWDmjmCcHWDYLWDYLWNE0cwTg6wbBawbBbrBNHME4OsGwWsGwWzBNHME71cwbRTB8tHME0cwTRzBNHZTRzBNHME0cwTR5OC0cwTRzQtHMFVOC0cwTR44LR281uOC0cwTR44LR5V///Z'],
];
// prettier-ignore
const EXTENDED = '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/wQALDAALABQBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAADQz/xAAnEAACAQMEAQMFAQAAAAAAAAACAwQBBQYHCAkKDAsREwANFCEiMf/aAAgBAQAAPwA5X8VK9Gex6Jj22WbC20zbdjdum2crTdgtYLn4HPAKSAWZx1mIxKAxjwYkDUtTWS4oNgOnwELX/g/HgXfd/wC931neO3tUcS2ufFDpzoRuphX47Zo7uM1T1DsGTzIWKZbeMMn3E4lo0+vNqhMpIsstihVPlpXAmRhfVlrmB+AgC9OXwLHuscO/X80N2X7h+UHhBybJLfYUXE3M3Na72eXb47okYEwZa16aKNshIKEKk+huUNAjE59IwuYDz+KAcV/Hnl+Q8fOVZBtOxR1w1HhYXFzaSEdiq3UJZ3pj6nQDpQWfNb4sgGBQTVIFj1kDnuYx0l+2JPFfx5wvRAOATIbftOxSLOwebrJKxCXEjsUdoM9WdU717IqB0+NYTxJi10/hQOehYgh7lHXopSmOkI8dQrWsaCAAPtQaU/VKUpT/ACn1/9k=';
// prettier-ignore
const EXTENDED_BY_DCMTK = [0, 232, 459, 490, 721, 749, 978, 1211, 1238, 1472, 1497, 1732, 1962, 1986, 2222, 2250, 2480, 2709, 2740, 2973, 208, 240, 469, 700, 730, 959, 994, 1218, 1450, 1479, 1712, 1738, 1970, 2202, 2227, 2459, 2492, 2717, 2953, 2979, 221, 450, 479, 710, 942, 968, 1197, 1229, 1459, 1690, 1721, 1951, 1978, 2212, 2442, 2471, 2699, 2733, 2959, 3189, 431, 458, 693, 718, 947, 1180, 1211, 1443, 1470, 1701, 1929, 1959, 2191, 2217, 2449, 2681, 2710, 2939, 2968, 3201, 438, 672, 701, 932, 960, 1192, 1418, 1448, 1679, 1711, 1939, 2170, 2200, 2433, 2457, 2692, 2923, 2949, 3181, 3207, 451, 679, 907, 939, 1169, 1199, 1432, 1660, 1692, 1920, 2851, 3082, 3309, 3341, 3570, 3597, 3826, 4062, 4092, 4095, 661, 686, 922, 1153, 1180, 1409, 1440, 1670, 1900, 1927, 3062, 3087, 3318, 3546, 3584, 3811, 3843, 4068, 4090, 4095, 670, 903, 927, 1160, 1390, 1420, 1649, 1680, 1909, 2141, 3068, 3301, 3330, 3561, 3790, 3819, 4049, 4079, 4095, 4094, 878, 912, 1141, 1169, 1402, 1629, 1658, 1889, 1919, 2151, 3278, 3311, 3541, 3571, 3799, 4030, 4063, 4091, 4095, 4094, 893, 1118, 1147, 1377, 1411, 1639, 1873, 1900, 2132, 2157, 3292, 3519, 3546, 3781, 3811, 4042, 4091, 4095, 4095, 4094, 900, 1130, 1365, 1390, 1620, 1649, 1880, 2109, 2139, 2372, 3298, 3534, 3761, 3789, 4022, 4050, 4095, 4095, 4093, 4095];

test.each(LOSSLESS)('JPEG lossless, %s: every value comes back', (name, packed) => {
  const bytes = Buffer.from(packed, 'base64');
  if (name === '8 bits')
    return expect([...decodeJpegLossless(bytes, described(8, 8)).bytes]).toEqual(drawn.map((x) => x >> 4));
  const expected = name === 'point transform' ? drawn.map((x) => (x >> 2) << 2) : drawn;
  expect(words(decodeJpegLossless(bytes, described(16, 12)).bytes)).toEqual(expected);
});

test('JPEG extended of 12 bits: within one of libjpeg, whose inverse DCT is in whole numbers', () => {
  const ours = words(decodeJpegExtended(Buffer.from(EXTENDED, 'base64'), described(16, 12)).bytes);
  expect(Math.max(...ours.map((x, i) => Math.abs(x - EXTENDED_BY_DCMTK[i])))).toBeLessThanOrEqual(1);
  // The control: the picture before it was compressed is further away.
  expect(Math.max(...drawn.map((x, i) => Math.abs(x - EXTENDED_BY_DCMTK[i])))).toBeGreaterThan(1);
});

test('cut off anywhere, both are refused or whole, and never read beyond', () => {
  const unlike = (decode: () => unknown): boolean => {
    try {
      decode();
      return false;
    } catch (error) {
      expect(error).toMatchObject({ code: 'IMAGE_UNREADABLE' });
      return true;
    }
  };
  const [, lossless] = LOSSLESS[5];
  for (const [packed, decode] of [
    [lossless, decodeJpegLossless],
    [EXTENDED, decodeJpegExtended],
  ] as const) {
    const bytes = Buffer.from(packed, 'base64');
    const refused = Array.from({ length: bytes.length }, (_, n) => unlike(() => decode(bytes.subarray(0, n), described(16, 12)))); // prettier-ignore
    // The end marker, padding and the last bits may go unnoticed; nothing earlier may.
    expect(refused.slice(0, -8).every(Boolean)).toBe(true);
  }
});

test('another size, depth or process than the file states is refused before decoding', () => {
  const bytes = Buffer.from(LOSSLESS[0][1], 'base64');
  expect(() => decodeJpegLossless(bytes, { ...described(16, 12), columns: 21 })).toThrow(
    /20 × 11 × 1, not 21 × 11 × 1/,
  );
  expect(() => decodeJpegExtended(bytes, described(16, 12))).toThrow(/not sequential/);
  expect(() => decodeJpegLossless(Buffer.from(EXTENDED, 'base64'), described(16, 12))).toThrow(/lossless process/);
});
