import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { bindings, listMessages, readConversation } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createDyingStream, followRun, Killer } from '#test/support/killed-runs.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { agentNameOf, createAgentTool, createTask, storeAgents, wrapOutcomes } from '#test/support/subagents.ts';
import { createBody } from '#test/support/turns.ts';

/** Where something dies: the waits of a step, and those between a run and its subagents. */
const POINTS = [
  'hold stands',
  'last byte sent up',
  'answer before its row',
  'step committed',
  'in mid-settlement',
  'before a call’s answer',
  'subagent not begun',
  'subagent begun',
  'outcome asked for',
  'outcome known',
] as const;
type Point = (typeof POINTS)[number];

/**
 * All of them have depth three, and six subagents of the root. In each third one every agent that calls agents calls six:
 * these have forty-two. By day there are six, with as many subagents as twenty trees of six: more would take minutes.
 */
const TREES = caseCount(100, 0.3);
const isWide = (tree: string) => Number(tree.slice('tree'.length)) % 3 === 0;
const SIX = ['a', 'b', 'c', 'd', 'e', 'f'];
/** The leads of a root, and their helpers: six of each, or one of the first lead alone. */
const subagentsIn = (tree: string) => 6 + (isWide(tree) ? 36 : 1);
/** What the API bills for a step, at the prices of claude-opus-5-5. */
const USAGE = { input_tokens: 100, output_tokens: 100 };
const STEP_USD = 100 * 4e-6 + 100 * 20e-6;

test(`${TREES} trees of depth three, six subagents to an agent, under kills: all end within max_usd, and each task is done once`, async () => {
  const killer = new Killer<Point>(POINTS);
  const billed = new Map<string, number>();
  const faults: string[] = [];
  const treeIn = (body: { messages: unknown }) => /tree\d+/.exec(JSON.stringify(body.messages))?.[0] ?? '';
  answerByScript(
    (body) => {
      const fault = findBrokenRule(body.messages as never);
      if (fault !== undefined) faults.push(fault);
      const tree = treeIn(body);
      billed.set(tree, (billed.get(tree) ?? 0) + STEP_USD);
      const agent = agentNameOf(body);
      const below = { root: 'lead', lead: 'helper', helper: 'book' }[agent ?? 'root'] ?? '';
      const place = /tree[\w.]*/.exec(JSON.stringify(body.messages))?.[0];
      const isDone = body.messages.some(
        ({ content }) => Array.isArray(content) && content.some(({ type }) => type === 'tool_result'),
      );
      const id = `toolu_${place?.replaceAll('.', '_')}`;
      // Of the leads of a narrow tree only the first one has a helper; the others book themselves.
      const helpers = isWide(tree) ? SIX : place?.endsWith('.a') ? ['a'] : [];
      const children = below === 'lead' ? SIX : below === 'helper' ? helpers : [];
      const wanted =
        children.length === 0
          ? [{ type: 'tool_use', id, name: 'book', input: { city: place } }]
          : children.map((one) => createTask(`${id}_${one}`, below, `Do ${place}.${one} now.`));
      const answer = isDone ? textAnswer(`Done: ${agent ?? 'root'}.`) : callsAnswer(...wanted);
      return {
        ...answer,
        usage: USAGE,
        change: (text) => createDyingStream(text, () => killer.reachPoint('answer before its row')),
      };
    },
    { before: () => killer.reachPoint('step committed'), after: () => killer.reachPoint('last byte sent up') },
  );
  await storeAgents(
    {
      helper: { tools: [weatherTool({ once: true }, 'book')] },
      lead: { tools: [createAgentTool('helper'), weatherTool({ once: true }, 'book')] },
    },
    TOOL_VARS,
  );
  killing(killer);
  const tools = answerTools(async ({ body }) => {
    await killer.reachPoint('before a call’s answer');
    return Response.json({ booked: body.input });
  });

  const kill = fc.record({
    point: fc.constantFrom(...POINTS),
    after: fc.integer({ min: 0, max: 20 }),
    one: fc.option(fc.nat(100), { nil: undefined }),
  });
  const most = fc.constantFrom(0.1, 1, 3);
  let number = 0;
  const ends = { done: 0, paused: 0, failed: 0 };
  const told = { trees: 0, 'with 42 subagents': 0, subagents: 0, 'over max_usd': 0, doubles: 0 };
  await tryAsyncCases(
    { numRuns: TREES, endOnFailure: true },
    fc.array(kill, { maxLength: 4 }),
    most,
    async (kills, max_usd) => {
      number += 1;
      const tree = `tree${number}`;
      killer.victimIds = [tree];
      killer.planKills([{ point: POINTS[number % POINTS.length] ?? POINTS[0], after: number % 3 }, ...kills]);
      const body = createBody(`Do ${tree} now.`, {
        tools: [createAgentTool('lead')],
        max_usd,
        max_tokens: 300,
        max_turns: 20,
      });

      const { events } = await killer.runWithKills(followRun(body, tree));
      killer.planKills([]);

      const { delta } = events.findLast(({ event }) => event === 'message_delta')?.data ?? {};
      const reason = (delta as { stop_reason?: string } | undefined)?.stop_reason;
      if (events.at(-1)?.event !== 'message_stop') ends.failed += 1;
      else if (reason === 'end_turn') ends.done += 1;
      else ends.paused += 1;

      expect(faults).toEqual([]);
      told.trees += 1;
      if (isWide(tree)) told['with 42 subagents'] += 1;
      if ((billed.get(tree) ?? 0) > max_usd) told['over max_usd'] += 1;
      expect(billed.get(tree) ?? 0).toBeLessThanOrEqual(max_usd);
      let begun = 0;
      await eventually(async () => {
        const subagents = [...(await subagentsOf(tree))];
        expect(subagents.length).toBeLessThanOrEqual(subagentsIn(tree));
        begun = subagents.length;
        const calledBy = subagents.map(({ parent, tool_use_id }) => `${String(parent)} ${String(tool_use_id)}`);
        expect(new Set(calledBy).size).toBe(subagents.length);
        const all = [(await readConversation(tree)) ?? {}, ...subagents];
        for (const one of all) expect(one).toMatchObject({ state: 'idle', turns: 1 });
        expect(new Set(killer.victimIds).size).toBeLessThanOrEqual(1 + subagentsIn(tree));
        // What all of them were booked at is never less than what was billed, and never more than was allowed.
        const booked = await bookedFor(new Set(killer.victimIds));
        expect(booked).toBeGreaterThanOrEqual((billed.get(tree) ?? 0) - 1e-9);
        expect(booked).toBeLessThanOrEqual(max_usd);
        for (const { id } of all) {
          const messages = (await listMessages(String(id))).map(({ role, content }) => ({ role, content }));
          expect(findBrokenRule(messages as never)).toBeUndefined();
        }
      });
      const made = tools.map(({ body: sent }) => String(sent.tool_use_id)).filter((id) => id.includes(`${tree}_`));
      told.subagents += begun;
      told.doubles += made.length - new Set(made).size;
      expect(new Set(made).size).toBe(made.length);
      // Where nothing was lost and there was money for all, all of them have worked, each once.
      const isWhole = reason === 'end_turn' && max_usd === 3 && kills.length === 0;
      if (isWhole) expect(begun).toBe(subagentsIn(tree));
    },
  );
  const ended = ends.done + ends.paused + ends.failed;
  // biome-ignore lint/suspicious/noConsole: where it died, and what came of it, is what one wants to know of this test.
  console.info(`${tableOf({ ...told, ended, ...ends })}\n${tableOf(Object.fromEntries(killer.killCounts))}`);
  expect(told.subagents).toBeGreaterThan(6 * TREES);
  expect(ends.done).toBeGreaterThan(0.3 * TREES);
  const account = getAccountStub(bindings, {}, 'alice');
  await eventually(async () => expect((await account.getQuotaReport()).running_requests).toBe(0));
}, 600_000);

/** Has objects killed in what they ask of each other. */
function killing(killer: Killer<Point>): void {
  const { admitJson, settleJson } = Account.prototype;
  const { handleTurn: turn } = Conversation.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...request) {
    const answer = await admitJson.apply(this, request);
    await killer.reachPoint('hold stands');
    return answer;
  });
  vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (this: Account, ...settlement) {
    const answer = settleJson.apply(this, settlement);
    // As a call it is awaited, whatever it returns.
    return killer.reachPoint('in mid-settlement').then(() => answer) as never;
  });
  vi.spyOn(Conversation.prototype, 'handleTurn').mockImplementation(async function (this: Conversation, call, body) {
    const { parent, conversationKey } = JSON.parse(call) as JsonObject & { conversationKey: { id: string } };
    if (!parent) return await turn.call(this, call, body);
    killer.victimIds.push(conversationKey.id);
    await killer.reachPoint('subagent not begun');
    const answer = await turn.call(this, call, body);
    await killer.reachPoint('subagent begun');
    return answer;
  });
  wrapOutcomes(async (_, ask) => {
    await killer.reachPoint('outcome asked for');
    const outcome = await ask();
    await killer.reachPoint('outcome known');
    return outcome;
  });
}

/** @returns all that were called below a conversation, each as it tells of itself */
async function* subagentsBelow(id: string): AsyncGenerator<JsonObject> {
  const { data } = await getAccountStub(bindings, {}, 'alice').listConversations({ parent: id, limit: 100 });
  for (const row of data) {
    yield (await readConversation(row.id)) ?? { id: row.id };
    yield* subagentsBelow(row.id);
  }
}

async function subagentsOf(id: string): Promise<JsonObject[]> {
  return await Array.fromAsync(subagentsBelow(id));
}

/** @returns what the account has booked for some conversations, also for what has failed in them; US dollars */
async function bookedFor(conversations: ReadonlySet<string>): Promise<number> {
  const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 1_000 });
  const own = data.filter(({ conversation }) => conversations.has(conversation ?? ''));
  expect(own.map(({ status }) => status)).not.toContain('held');
  return own.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
}

/** @returns figures below their names */
function tableOf(figures: Readonly<Record<string, number>>): string {
  const cells = Object.entries(figures).map(([name, figure]) => [name, String(figure).padStart(name.length)]);
  return [0, 1].map((line) => `| ${cells.map((cell) => cell[line]).join(' | ')} |`).join('\n');
}
