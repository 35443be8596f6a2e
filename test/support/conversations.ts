import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import { createSimulatorUpstream } from '#edge/claude/simulator-upstream.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { ApprovalDecisionResult, RpcResult, RpcText } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { readRpcText as crossedText } from '#edge/conversations/object/rpc-response.ts';
import { getAccountStub, getConversationStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { eventually } from './eventually.ts';
import { waitForObject } from './pending-work.ts';
import { SECRET } from './tokens.ts';
import { disableThinking } from './without-thinking.ts';

export const bindings = env as unknown as Bindings;

/** The protected methods of the object that a test may replace: they are the same for every instance, also after a crash. */
interface ProtectedMethods {
  settings(): Settings;
  now(): number;
  upstream(): Upstream;
}

/**
 * Has every conversation answered by the simulator, unpaced, until the test ends.
 *
 * @param vars further settings
 * @param thinks whether its models think
 */
export function installSimulator(vars: Record<string, string> = {}, thinks = false): Settings {
  const settings = parseSettings(
    {
      UPSTREAM: 'simulator',
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
      UPSTREAM_MAX_RETRIES: '0',
      SIGNING_SECRET: SECRET,
      ...vars,
    },
    true,
  );
  const spy = vi.spyOn(Conversation.prototype as unknown as ProtectedMethods, 'settings').mockReturnValue(settings);
  onTestFinished(() => spy.mockRestore());
  if (settings.UPSTREAM !== 'simulator' || thinks) return settings;
  const { fetch, ...more } = createSimulatorUpstream(settings);
  const unthinking = disableThinking(async (request) => await fetch(request.url, request));
  setConversationUpstream(async (url, init) => await unthinking(url, init), more);
  return settings;
}

/** Has every conversation ask this upstream, until the test ends. */
export function setConversationUpstream(fetch: Upstream['fetch'], more: Partial<Upstream> = {}): Upstream {
  const upstream = { baseURL: 'https://upstream.invalid', apiKey: 'key', isSimulated: false, ...more, fetch };
  const spy = vi.spyOn(Conversation.prototype as unknown as ProtectedMethods, 'upstream').mockReturnValue(upstream);
  onTestFinished(() => spy.mockRestore());
  return upstream;
}

export const stubOf = (id = 'c1', account = 'alice') => getConversationStub(bindings, {}, { account, id });

export interface Row {
  id: string;
  turn: string;
  role: string;
  model: string | null;
  content: unknown;
  status: string;
  cost_usd: number | null;
  usage: unknown;
}

/** All messages of a conversation, as `GET …/messages` gives them. */
export async function listMessages(id = 'c1', account = 'alice'): Promise<Row[]> {
  const result = await stubOf(id, account).readMessagePage({ limit: 1_000 });
  if (!result.ok) return [];
  const text = await new Response(result.value as ReadableStream).text();
  return (JSON.parse(text) as { data: Row[] }).data;
}

/** @param result what an object's method returns that gives a text @throws Error with what was refused, where something was */
export async function parseResult(result: RpcResult<unknown>): Promise<JsonObject> {
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return JSON.parse(await crossedText(result.value as RpcText)) as JsonObject;
}

/** The conversation by itself; undefined where there is none. */
export async function readConversation(id = 'c1', account = 'alice'): Promise<JsonObject | undefined> {
  const given = await stubOf(id, account).read();
  return given.ok ? await parseResult(given) : undefined;
}

/** The turn as it is now. */
export async function fetchTurn(turn: unknown, id = 'c1'): Promise<JsonObject> {
  return await parseResult(await stubOf(id).readTurnReport(String(turn)));
}

/** What can be called of a conversation's object, directly or by its stub. */
interface ConversationParts {
  callPlugin(plugin: string, method: string, ...args: unknown[]): PromiseLike<unknown>;
}

/** Lists what waits for approval, as the route does. */
export async function listApprovals(object: ConversationParts): Promise<RpcResult<RpcText>> {
  return (await object.callPlugin('runs', 'listApprovals')) as RpcResult<RpcText>;
}

/** Decides on a call that waits for approval, as the route does. */
export async function sendDecision(
  object: ConversationParts,
  decision: object,
): Promise<RpcResult<ApprovalDecisionResult>> {
  return (await object.callPlugin('runs', 'decideApproval', decision)) as RpcResult<ApprovalDecisionResult>;
}

/** The calls that wait for approval. */
export async function fetchApprovals(id = 'c1', account = 'alice'): Promise<JsonObject[]> {
  return (await parseResult(await listApprovals(stubOf(id, account)))).data as JsonObject[];
}

/** Has time pass for conversations, until the test ends. @returns what lets so many milliseconds pass at once */
export function createTimeAdvancer(): (ms: number) => void {
  let passed = 0;
  const spy = vi
    .spyOn(Conversation.prototype as unknown as ProtectedMethods, 'now')
    .mockImplementation(() => Date.now() + passed);
  onTestFinished(() => spy.mockRestore());
  return (ms) => {
    passed += ms;
  };
}

/** @returns the log of the newest turn as far as it is stored: what a listener gets if the object dies now */
export async function readStoredLog(id = 'c1', account = 'alice'): Promise<string> {
  return await runInDurableObject(stubOf(id, account), (_, { storage }) => {
    const transcript = new Transcript(storage);
    const newest = transcript.listTurns().at(-1);
    // The log of a run is not with its steps.
    const turn = transcript.listTurns('seq = ?', newest?.run ?? newest?.seq ?? 0).at(0);
    return turn ? transcript.log.readLog(turn).text : '';
  });
}

/** Counts the rows that an object writes from now on, and alarms that it sets, each a row too. */
export async function countWrittenRows(
  stub: DurableObjectStub<Conversation> | DurableObjectStub<Account>,
): Promise<() => number> {
  let rows = 0;
  await runInDurableObject(stub as DurableObjectStub<Conversation>, (_, { storage }) => {
    const { exec } = storage.sql;
    const { setAlarm } = storage;
    Object.assign(storage.sql, {
      exec(...args: Parameters<SqlStorage['exec']>) {
        const cursor = exec.apply(storage.sql, args);
        rows += cursor.rowsWritten;
        return cursor;
      },
    });
    Object.assign(storage, {
      setAlarm(time: number) {
        rows += 1;
        return setAlarm.call(storage, time);
      },
    });
  });
  return () => rows;
}

/** Waits until all turns of alice's conversation `c1` are settled, and both objects know it: nothing more is written. */
export async function waitUntilAtRest(): Promise<void> {
  await eventually(async () => {
    const { running_requests } = await getAccountStub(bindings, {}, 'alice').getQuotaReport();
    const settled = await runInDurableObject(stubOf(), (_, { storage }) =>
      new Transcript(storage).listTurns().every((row) => row.settled),
    );
    expect({ running_requests, settled }).toEqual({ running_requests: 0, settled: true });
  });
  await waitForObject(stubOf());
}
