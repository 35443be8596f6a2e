/** An edge with an agent that chooses its model, and an API that labels questions by what stands in them. */
import { expect } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import { requestEdge } from './agents.ts';
import { labelMessage } from './classification.ts';
import { bindings } from './conversations.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from './prefixes.ts';
import { type AskedBody, answerByScript, type ScriptedAnswer, TOOL_VARS, textAnswer } from './scripted-runs.ts';

export const SMALL = 'claude-haiku-5-5';
export const MIDDLE = 'claude-sonnet-5-5';
export const LARGE = 'claude-opus-5-5';
export const LEVELS = ['easy', 'middling', 'hard'] as const;
export type Level = (typeof LEVELS)[number];
export const CHOICE = { by: 'difficulty', models: { easy: SMALL, middling: MIDDLE, hard: LARGE }, otherwise: LARGE };

/** @returns whether what went up asks for a label */
export const isLabelRequest = ({ output_config }: AskedBody) =>
  Object.hasOwn((output_config ?? {}) as JsonObject, 'format');

/** @returns the text that is to be labelled, or that was asked last */
export const lastTextOf = ({ messages }: AskedBody) => {
  const { content = '' } = messages.at(-1) ?? {};
  return typeof content === 'string' ? content : content.map(({ text }) => text).join('\n');
};

/** How labels and answers come. */
interface Scripts {
  agent?: object;
  choice?: object;
  classifier?: object;
  vars?: Record<string, string>;
  /** Default: the level whose name stands in the text. */
  label?(body: AskedBody): Response | Promise<Response>;
  /** Called before anything is answered. */
  before?(body: AskedBody): Promise<void>;
  answer?(body: AskedBody, number: number): ScriptedAnswer | Response;
}

export const labelByLevelName = (body: AskedBody) =>
  Response.json(labelMessage(LEVELS.find((level) => lastTextOf(body).includes(level)) ?? 'easy'));

/** The edge with its agent `router`, that bob may ask; `up` are the bodies of answers, `labels` those of classifications. */
export async function createRouterEdge({
  agent = {},
  choice = {},
  classifier = {},
  vars = {},
  label = labelByLevelName,
  before,
  answer,
}: Scripts = {}) {
  const app = createSimulatedEdge({ ...TOOL_VARS, ...vars });
  const root = await authorizationFor('root', 'admin');
  const bob = await authorizationFor('bob', 'messages', 'classify');
  await putJson(app, root, '/classifiers/difficulty', { labels: LEVELS, cache_seconds: 0, ...classifier });
  const model = { ...CHOICE, ...choice };
  const router = await putJson(app, root, '/agents/router', { max_tokens: 64, system: 'router', ...agent, model });
  const labels: AskedBody[] = [];
  const up: AskedBody[] = [];
  answerByScript(
    async (body, number) => {
      await before?.(body);
      (isLabelRequest(body) ? labels : up).push(body);
      if (isLabelRequest(body)) return label(body);
      return answer?.(body, number) ?? textAnswer('So.');
    },
    { vars },
  );
  return { app, root, bob, up, labels, version: String(router.version) };
}

export async function putJson(app: SimulatedEdge, headers: Record<string, string>, path: string, body: object) {
  const { status, body: stored } = await requestEdge(app, 'PUT', path, headers, body);
  expect({ path, status, error: stored.error }).toEqual({ path, status: 200, error: undefined });
  return stored;
}

/** Sends a question, and reads all of its answer. */
export async function askWhole(
  app: SimulatedEdge,
  headers: Record<string, string>,
  text: string,
  { path = '/v1/messages', ...more }: { path?: string; [member: string]: unknown } = {},
) {
  const messages = [{ role: 'user', content: text }];
  const asked = { agent: 'router', conversation: 'c1', messages, ...more };
  const response = await app.post(path, asked, headers);
  const body = await response.text();
  await app.waitUntilSettled();
  return {
    status: response.status,
    chosen: response.headers.get('sluice-model-chosen') ?? '',
    headers: response.headers,
    body,
  };
}

/** The ledger of an account at rest, oldest first. */
export async function readLedger(account = 'bob'): Promise<LedgerRow[]> {
  const { data } = (await getAccountStub(bindings, {}, account).listRequests({ limit: 1_000 })) as {
    data: LedgerRow[];
  };
  return data.toReversed();
}
