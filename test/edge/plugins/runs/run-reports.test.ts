import { expect, test } from 'vitest';
import { accountStub } from '#edge/durable/stubs.ts';
import { atRest, bindings, readOf, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { answeringBy, call, calls, says, servingTools, weather } from '#test/support/scripted-runs.ts';
import { bodyOf, say } from '#test/support/turns.ts';
import { refusal } from '#test/support/wire.ts';

const account = () => accountStub(bindings, {}, 'alice');
const sun = () => new Response('sun');
const fresh = (n: number) => calls(call(`toolu_${n}`, `city ${n}`));

/** The ends of a run of two steps, by how it is asked for, and what happens in it. */
const ENDS: [
  string,
  { more?: object; second?: Parameters<typeof answeringBy>[0]; tool?: typeof sun | (() => Promise<Response>) },
][] = [
  ['completes', {}],
  ['is refused by its model', { second: () => ({ ...says('No.'), stop_reason: 'refusal' }) }],
  ['pauses at max_usd, since its next step may cost more than is left', { more: { max_usd: 0.006 } }],
  ['pauses at max_turns', { more: { max_turns: 1 } }],
  ['pauses at max_tool_calls', { more: { max_tool_calls: 0 } }],
  ['waits for approval', { more: { tools: [weather({ approval: 'always' })] } }],
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
        await stubOf().stop();
        return sun();
      },
    },
  ],
  ['fails, since its next step is not accepted', { second: () => refusal(400, 'invalid_request_error', 'No.') }],
  ['fails, since its upstream is overloaded', { second: () => refusal(529, 'overloaded_error') }],
  ['is cut', { second: () => ({ ...says('Sun.'), change: (text) => text.slice(0, text.length / 2) }) }],
];

test.each(ENDS)('a run that %s costs the same in the list, in its conversation and in the ledger', async (_, end) => {
  const { more, second = () => says('Sun.'), tool = sun } = end;
  answeringBy((body, n) => (n === 1 ? fresh(n) : second(body, n)));
  servingTools(tool);
  await say(bodyOf('How is the weather?', { tools: [weather()], ...more }));
  await atRest();
  const { data: rows } = await account().requests({});
  const spent = rows.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  expect(spent).toBeGreaterThan(0);
  expect((await readOf())?.cost_usd).toBeCloseTo(spent, 9);
  await eventually(async () => {
    const { data: listed } = await account().conversations({});
    expect(listed.map(({ cost_usd }) => cost_usd)).toEqual([expect.closeTo(spent, 9)]);
  });
});
