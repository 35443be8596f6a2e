/** Prints the table of honest mixes in docs/holds.md: `npm run honest`, or with the beginnings of the names of some. */
import { registerHooks } from 'node:module';
import type { MixResult } from './honest-mixes.ts';

const workers = new URL('./workers.ts', import.meta.url).href;
registerHooks({ resolve: (name, context, next) => next(name === 'cloudflare:workers' ? workers : name, context) });
const { simulateMix, MIXES, p95OfWaits } = await import('./honest-mixes.ts');

const SEEDS = Array.from({ length: 10 }, (_, nth) => nth + 1);
const formatPercent = (part: number, total: number) => `${(total === 0 ? 0 : (part / total) * 100).toFixed(1)} %`;
const wantedNames = process.argv.slice(2);

console.log(
  '| who | answered | money spent | booked / billed | refused, though two had room | refused with a tenth left | left at the first refusal | cut, though there was money | without a word | p95 to the first byte |',
);
for (const mix of MIXES) {
  if (wantedNames.length > 0 && !wantedNames.some((beginning) => mix.name.startsWith(beginning))) continue;
  const results: MixResult[] = [];
  for (const seed of SEEDS) results.push(await simulateMix(mix, seed));
  const sum = (figure: (one: (typeof results)[number]) => number) =>
    results.reduce((total, one) => total + figure(one), 0);
  const totalRequests = sum((one) => one.answered + one.refused);
  const cells = [
    mix.name,
    sum((one) => one.answered),
    formatPercent(
      sum((one) => one.spent),
      SEEDS.length,
    ),
    (sum((one) => one.spent) / sum((one) => one.billed)).toFixed(2),
    formatPercent(
      sum((one) => one.refusedWithRoom),
      totalRequests,
    ),
    formatPercent(
      sum((one) => one.refusedEarly),
      totalRequests,
    ),
    formatPercent(
      sum((one) => one.leftWhenRefused),
      SEEDS.length,
    ),
    formatPercent(
      sum((one) => one.cutWithMoney),
      sum((one) => one.early),
    ),
    sum((one) => one.wordless),
    `${(p95OfWaits(results.flatMap(({ waits }) => waits)) / 1_000).toFixed(1)} s`,
  ];
  console.log(`| ${cells.join(' | ')} |`);
}
