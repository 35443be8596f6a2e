import { afterEach, expect, test } from 'vitest';
import { accountStub } from '../../../src/durable/stubs.ts';
import { atRest, bindings, bodyOf, countRows, resetAll, say, stubOf } from '../../support/conversations.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '../../support/scripted-runs.ts';

afterEach(resetAll);

/** Runs of so many steps that call so many tools each. @returns the rows that both objects have written for one more */
async function rowsOfRun(steps: number, tools: number): Promise<number> {
  let step = 0;
  answeringBy(() => {
    step += 1;
    const asked = Array.from({ length: tools }, (_, n) => call(`toolu_${step}_${n}`, `city ${step} ${n}`));
    return step % steps === 0 ? says('Done.') : calls(...asked);
  });
  servingTools(() => new Response('sun'));
  const body = bodyOf('Hi', { tools: [weather()] });
  await say(body);
  await atRest();
  const counts = [await countRows(stubOf()), await countRows(accountStub(bindings, {}, 'alice'))];
  await say(bodyOf('Again', { tools: [weather()] }));
  await atRest();
  return counts.reduce((sum, count) => sum + count(), 0);
}

test('a step writes few rows, and a further call in it two', async () => {
  const two = await rowsOfRun(2, 1);
  await resetAll();
  const four = await rowsOfRun(4, 1);
  await resetAll();
  const more = await rowsOfRun(2, 3);
  expect((four - two) / 2).toBeLessThanOrEqual(16);
  expect((more - two) / 2).toBeLessThanOrEqual(3);
});

test('six calls take about as long as one', async () => {
  const waiting = 300;
  answeringBy((_, number) =>
    number === 1 ? calls(...Array.from({ length: 6 }, (_, n) => call(`toolu_${n}`, `city ${n}`))) : says('Done.'),
  );
  const called: number[] = [];
  const answered: number[] = [];
  servingTools(async () => {
    called.push(Date.now());
    await new Promise((resolve) => setTimeout(resolve, waiting));
    answered.push(Date.now());
    return new Response('sun');
  });
  await say(bodyOf('Hi', { tools: [weather()] }));
  // All have been called before the first has answered.
  expect(Math.max(...called)).toBeLessThan(Math.min(...answered));
});
