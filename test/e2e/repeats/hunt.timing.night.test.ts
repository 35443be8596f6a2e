import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { Plugin } from 'rolldown';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleWorker } from '../../../scripts/bundle.ts';
import { startMeasuredEdge } from './edge.ts';
import { MOST_TIMES } from './measure.ts';
import { ROWS } from './rows.ts';

const TRIES = 20;
const BUSY = 6;
/** It ends by itself, too: whoever ends it may be killed. */
const BUSY_LOOP = 'for (const end = Date.now() + 3_600_000; Date.now() < end; );';

/** Mistakes that look again at all that came before, with the row that must find each. */
const MISTAKES = [
  {
    row: 'messages',
    n: 1_000,
    file: 'src/edge/claude/messages.schema.ts',
    right: 'messages.every(isPlainMessage)',
    wrong: 'messages.every((_, index) => messages.slice(0, index + 1).every(isPlainMessage))',
  },
  {
    row: 'messages of a first turn',
    n: 550,
    file: 'src/edge/talk/history/continuation.ts',
    right: "if (message.role === 'assistant') {\n      if (!first) {",
    wrong:
      "if (JSON.stringify(messages.slice(0, index)) !== '' && message.role === 'assistant') {\n      if (!first) {",
  },
];

/** Puts a mistake into the source as it is bundled: no file is changed. */
function withMistake({ file, right, wrong }: (typeof MISTAKES)[number]): Plugin {
  return {
    name: 'with-mistake',
    load: {
      filter: { id: new RegExp(`/${file.replaceAll('.', '[.]')}$`) },
      handler: async (id) => {
        const source = await readFile(id, 'utf8');
        if (source.split(right).length !== 2) throw new Error(`${file}: not found once: ${right}`);
        return { code: source.replace(right, () => wrong), moduleType: 'ts' };
      },
    },
  };
}

const busy: ChildProcess[] = [];
beforeAll(() => {
  for (let nth = 0; nth < BUSY; nth += 1) busy.push(spawn(process.execPath, ['-e', BUSY_LOOP]));
});
afterAll(() => {
  for (const child of busy) child.kill('SIGKILL');
});

test.each(MISTAKES)(
  `${TRIES} times of ${TRIES} a mistake is found beside ${BUSY} busy loops: $row`,
  async (mistake) => {
    const row = ROWS.find(({ what }) => what === mistake.row);
    if (!row) throw new Error('There is no such row.');
    const { code } = await bundleWorker({ SLUICE_SIMULATOR: 'true' }, undefined, [withMistake(mistake)]);
    const found: number[] = [];
    const edge = await startMeasuredEdge(code);
    for (let tried = 0; tried < TRIES; tried += 1) found.push((await edge.growthOf(row, mistake.n)).times);
    await edge.stop();
    process.stdout.write(`${mistake.row}: ${found.map((times) => times.toFixed(0)).join(', ')} times as long\n`);
    expect(found.filter((times) => times > MOST_TIMES)).toHaveLength(TRIES);
  },
  // What is mistaken takes long, and six busy loops have most of the machine.
  7_200_000,
);
