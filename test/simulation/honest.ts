/** Prints the table of honest mixes in docs/holds.md: `npm run honest`, or with the beginnings of the names of some. */
import { registerHooks } from 'node:module';
import type { Honest } from './honest-mixes.ts';

const workers = new URL('./workers.ts', import.meta.url).href;
registerHooks({ resolve: (name, context, next) => next(name === 'cloudflare:workers' ? workers : name, context) });
const { live, MIXES, p95 } = await import('./honest-mixes.ts');

const SEEDS = Array.from({ length: 10 }, (_, nth) => nth + 1);
const percent = (part: number, of: number) => `${(of === 0 ? 0 : (part / of) * 100).toFixed(1)} %`;
const wanted = process.argv.slice(2);

console.log(
  '| who | answered | money spent | refused, though two had room | refused with a tenth left | left at the first refusal | cut, though there was money | without a word | p95 to the first byte |',
);
for (const mix of MIXES) {
  if (wanted.length > 0 && !wanted.some((beginning) => mix.name.startsWith(beginning))) continue;
  const all: Honest[] = [];
  for (const seed of SEEDS) all.push(await live(mix, seed));
  const sum = (figure: (one: (typeof all)[number]) => number) => all.reduce((total, one) => total + figure(one), 0);
  const asked = sum((one) => one.answered + one.refused);
  const cells = [
    mix.name,
    sum((one) => one.answered),
    percent(
      sum((one) => one.spent),
      SEEDS.length,
    ),
    percent(
      sum((one) => one.refusedWithRoom),
      asked,
    ),
    percent(
      sum((one) => one.refusedEarly),
      asked,
    ),
    percent(
      sum((one) => one.leftWhenRefused),
      SEEDS.length,
    ),
    percent(
      sum((one) => one.cutWithMoney),
      sum((one) => one.early),
    ),
    sum((one) => one.wordless),
    `${(p95(all.flatMap(({ waits }) => waits)) / 1_000).toFixed(1)} s`,
  ];
  console.log(`| ${cells.join(' | ')} |`);
}
