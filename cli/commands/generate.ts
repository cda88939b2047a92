import { type Command } from 'commander';
import { wholeNumber } from '../options.ts';
import { print } from '../output.ts';

interface GenerateArguments {
  generator: string;
  count: number;
  class?: string;
  seed?: string;
  out: string;
}

/** `veilgan generate`: images from a published generator; anyone may run it, anywhere. */
export function addGenerate(program: Command): void {
  program
    .command('generate')
    .description('draw images from a published generator: PNGs by class, labels.csv, synthetic.npz')
    .requiredOption('--generator <file>', 'generator.onnx, with generator.json beside it')
    .requiredOption('--count <n>', 'how many', wholeNumber(1, 1_000_000))
    .requiredOption('--out <folder>', 'must be new or empty')
    .option('--class <name>', 'of this class alone; by default in the public shares')
    .option('--seed <text>', 'the same seed draws the same images; by default a fresh one')
    .action(async (o: GenerateArguments) => {
      const { generateImages } = await import('../generate-images.ts');
      const { images, seed } = await generateImages(o);
      print(`${images} images in ${o.out}, seed ${seed}`);
    });
}
