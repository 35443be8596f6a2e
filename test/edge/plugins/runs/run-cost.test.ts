import { expect, test } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, countWrittenRows, installSimulator, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { resetAll } from '#test/support/reset.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

/** Runs of so many steps that call so many tools each. @returns the rows that both objects have written for one more */
async function rowsOfRun(steps: number, tools: number): Promise<number> {
  let step = 0;
  answerByScript(() => {
    step += 1;
    const asked = Array.from({ length: tools }, (_, n) => weatherCall(`toolu_${step}_${n}`, `city ${step} ${n}`));
    return step % steps === 0 ? textAnswer('Done.') : callsAnswer(...asked);
  });
  answerTools(() => new Response('sun'));
  const body = createBody('Hi', { tools: [weatherTool()] });
  await runTurn(body);
  await waitUntilAtRest();
  const counts = [await countWrittenRows(stubOf()), await countWrittenRows(getAccountStub(bindings, {}, 'alice'))];
  await runTurn(createBody('Again', { tools: [weatherTool()] }));
  await waitUntilAtRest();
  return counts.reduce((sum, count) => sum + count(), 0);
}

test('a step writes at most nine rows, and each further call in it at most two', async () => {
  disableAutomaticAlarms();
  const two = await rowsOfRun(2, 1);
  await resetAll();
  const four = await rowsOfRun(4, 1);
  await resetAll();
  const more = await rowsOfRun(2, 3);
  // One of them says which calls its run will make.
  expect((four - two) / 2).toBeLessThanOrEqual(9);
  // In the run of two steps one calls tools.
  expect((more - two) / 2).toBeLessThanOrEqual(2);
});

test.each([1, 6, 15])('each step reads the previous step’s input from the cache, with %i tool calls', async (tools) => {
  const simulator = getUpstreamBySettings(installSimulator());
  const steps = 4;
  const bodies = answerByScript((_, step) => {
    const asked = Array.from({ length: tools }, (_, n) => weatherCall(`toolu_${step}_${n}`, `city ${step} ${n}`));
    return step === steps ? textAnswer('Done.') : callsAnswer({ type: 'text', text: 'I look.' }, ...asked);
  });
  answerTools(() => new Response('sun'));
  await runTurn(
    createBody('Hi', { tools: [weatherTool()], system: 'You know the weather of every city. '.repeat(1_000) }),
  );
  expect(bodies).toHaveLength(steps);
  let before = 0;
  for (const body of bodies) {
    const answer = await simulator.fetch('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01', 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, stream: false, max_tokens: 1 }),
    });
    const { usage } = (await answer.json()) as { usage: Record<string, number> };
    const { input_tokens = 0, cache_read_input_tokens = 0, cache_creation_input_tokens = 0 } = usage;
    expect(cache_read_input_tokens).toBeGreaterThanOrEqual(before);
    before = input_tokens + cache_read_input_tokens + cache_creation_input_tokens;
    expect(before).toBeGreaterThan(4_096);
  }
});

test('six tool calls of a step are made at the same time', async () => {
  answerByScript((_, number) =>
    number === 1
      ? callsAnswer(...Array.from({ length: 6 }, (_, n) => weatherCall(`toolu_${n}`, `city ${n}`)))
      : textAnswer('Done.'),
  );
  let answered = 0;
  const called = answerTools(async () => {
    // All have been called before the first has answered.
    await waitForCondition(() => called.length === 6);
    answered += 1;
    return new Response('sun');
  });
  await runTurn(createBody('Hi', { tools: [weatherTool()] }));
  expect(answered).toBe(6);
});
