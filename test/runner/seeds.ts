/**
 * Has each test draw the same each time: its properties, and what takes `Math.random`. By day the name of its file and its
 * title are the seed, by night the night's seed besides.
 */
import fc from 'fast-check';
import { afterEach, beforeEach, inject } from 'vitest';
import { createDraw } from '#test/support/create-draw.ts';
import { fileName, toSeed } from '#test/support/seed.ts';

const { random } = Math;
/** As many values as a double has between 0 and 1, for what is drawn here. */
const VALUES = 2 ** 32;

beforeEach(({ task }) => {
  const night = inject('nightSeed');
  const seed = toSeed(`${fileName(task.file.filepath)} ${task.fullTestName}${night === 0 ? '' : ` ${night}`}`);
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
  const draw = createDraw(seed);
  Math.random = () => draw(VALUES) / VALUES;
});

afterEach(() => {
  Math.random = random;
});
