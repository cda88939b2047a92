/** Reads a folder of images as a site does, keeps them, and writes down all that the process's heap then holds. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { writeHeapSnapshot } from 'node:v8';
import { readPrivateImages } from '../../site-agent/imaging/read-dataset.ts';

const [folder, snapshot, leak] = process.argv.slice(2);
const kept = await readPrivateImages(folder, { size: 28, channels: 1, onBadFile: 'skip', classes: ['chest', 'hand'], labelTags: ['BodyPartExamined'], threads: 1 }); // prettier-ignore
// For the control: the text of one file, as a careless reader might keep it.
const careless = leak === undefined ? '' : readFileSync(path.join(folder, leak)).toString('latin1');
writeHeapSnapshot(snapshot);
process.stdout.write(`${kept.images.n} images, ${careless.length > 0 ? 'careless' : 'careful'}\n`);
