import { env } from 'cloudflare:workers';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createBody, createTestApp, type TestApp } from './app.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from './tokens.ts';
import { createSimulatorWithoutThinking } from './without-thinking.ts';

export const bindings = env as unknown as Bindings;

/** An upstream that keeps the simulator's accounts of its cache, by a clock that the test moves. */
export interface SimulatedEdge extends TestApp {
  clock: { now: number };
}

export function createSimulatedUpstream(clock: { now: number }) {
  return createSimulatorWithoutThinking({ ttftMs: 0, tokensPerSecond: 0, now: () => clock.now });
}

/** A deployed edge before a simulator; several of them made with one simulator are isolates of one deployment. */
export function createSimulatedEdge(
  vars: Record<string, unknown> = {},
  clock = { now: Date.now() },
  simulate = createSimulatedUpstream(clock),
): SimulatedEdge {
  const app = createTestApp(
    async ({ url, method, headers, text }) => {
      const answer = await simulate(new Request(url, { method, headers, ...(text && { body: text }) }));
      return new Response(createBody([await answer.text()]), answer);
    },
    { ...DEPLOYED_VARS, ...vars },
  );
  return { ...app, clock };
}

/** The headers of an account with these scopes. */
export async function authorizationFor(account: string, ...scopes: Parameters<typeof createToken>[1] & string[]) {
  return bearerHeader(await createToken(account, scopes.length === 0 ? ['messages', 'prefixes'] : scopes));
}

export interface PutPrefixResponse {
  name: string;
  version: string;
  model: string;
  input_tokens: number;
  minimum_cacheable_tokens: number;
  warnings: string[];
  cost_usd: { cold: number; write: number; read: number };
  pays_from_requests: number | null;
}

/** Stores a prefix; anything but a success fails the test. */
export async function storePrefix(
  app: TestApp,
  name: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<PutPrefixResponse> {
  const response = await tryStorePrefix(app, name, body, headers);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`PUT ${name}: ${response.status} ${text}`);
  return JSON.parse(text) as PutPrefixResponse;
}

export function tryStorePrefix(
  app: TestApp,
  name: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<Response> {
  return app.fetch(`/prefixes/${name}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
  cache_creation: { ephemeral_5m_input_tokens: number; ephemeral_1h_input_tokens: number };
}

/** Asks with a prefix and tells what the cache did. */
export async function requestUsage(app: TestApp, body: object, headers: Record<string, string>): Promise<Usage> {
  const response = await app.post(
    '/v1/messages',
    { model: 'claude-opus-5-5', max_tokens: 16, messages: [{ role: 'user', content: 'Hi' }], ...body },
    headers,
  );
  const answer = (await response.json()) as { usage: Usage };
  if (response.status !== 200) throw new Error(JSON.stringify(answer));
  await app.waitUntilSettled();
  return answer.usage;
}

/** Counts what is read from KV from now on. */
export function countStoreCalls(): { store: KVNamespace; reads: () => number; writes: () => number } {
  let reads = 0;
  let writes = 0;
  const store = new Proxy(bindings.STORE, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (name === 'get') reads += 1;
        if (name === 'put') writes += 1;
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
  return { store, reads: () => reads, writes: () => writes };
}

const WORDS = 'The answer is kind, short and true. Refunds take five days; parcels take two. ';

/** Text of about so many tokens. */
export const createProse = (tokens: number) => WORDS.repeat(Math.ceil(tokens / 18));

export const createTool = (name: string, description = 'x') => ({
  name,
  description,
  input_schema: { type: 'object', properties: { q: { type: 'string' } } },
});
