import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, readConversation, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn } from '#test/support/turns.ts';
import { createErrorResponse } from '#test/support/wire.ts';

const account = () => getAccountStub(bindings, {}, 'alice');
const sun = () => new Response('sun');
const fresh = (n: number) => callsAnswer(weatherCall(`toolu_${n}`, `city ${n}`));

/** The ends of a run of two steps, by how it is asked for, and what happens in it. */
const ENDS: [
  string,
  { more?: object; second?: Parameters<typeof answerByScript>[0]; tool?: typeof sun | (() => Promise<Response>) },
][] = [
  ['completes', {}],
  ['is refused by its model', { second: () => ({ ...textAnswer('No.'), stop_reason: 'refusal' }) }],
  ['pauses at max_usd, since its next step may cost more than is left', { more: { max_usd: 0.006 } }],
  ['pauses at max_turns', { more: { max_turns: 1 } }],
  ['pauses at max_tool_calls', { more: { max_tool_calls: 0 } }],
  ['waits for approval', { more: { tools: [weatherTool({ approval: 'always' })] } }],
  [
    'pauses at the budget of its account',
    {
      tool: async () => {
        await account().setLimits({ usd_per_day: 0.004 });
        return sun();
      },
    },
  ],
  [
    'is stopped while it calls a tool',
    {
      tool: async () => {
        await stubOf().stopRunningTurn();
        return sun();
      },
    },
  ],
  [
    'fails, since its next step is not accepted',
    { second: () => createErrorResponse(400, 'invalid_request_error', 'No.') },
  ],
  ['fails, since its upstream is overloaded', { second: () => createErrorResponse(529, 'overloaded_error') }],
  ['is cut', { second: () => ({ ...textAnswer('Sun.'), change: (text) => text.slice(0, text.length / 2) }) }],
];

test.each(ENDS)(
  'a run that %s has the same cost in its conversation, the conversation list and the ledger',
  async (_, end) => {
    const { more, second = () => textAnswer('Sun.'), tool = sun } = end;
    answerByScript((body, n) => (n === 1 ? fresh(n) : second(body, n)));
    answerTools(tool);
    await runTurn(createBody('How is the weather?', { tools: [weatherTool()], ...more }));
    await waitUntilAtRest();
    const { data: rows } = await account().listRequests({});
    const spent = rows.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
    expect(spent).toBeGreaterThan(0);
    expect((await readConversation())?.cost_usd).toBeCloseTo(spent, 9);
    await eventually(async () => {
      const { data: listed } = await account().listConversations({});
      expect(listed.map(({ cost_usd }) => cost_usd)).toEqual([expect.closeTo(spent, 9)]);
    });
  },
);
