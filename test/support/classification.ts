import { env } from 'cloudflare:workers';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createTestApp, type SentRequest, type TestApp } from './app.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from './tokens.ts';

export const bindings = env as unknown as Bindings;
export const HAIKU = 'claude-haiku-5-5';
export const LABELS = ['billing', 'bug', 'other'];
/** $0.10 and $0.50 for a million tokens. */
const HAIKU_PRICE = { input: 100, output: 500 };
export const USAGE = { input_tokens: 200, output_tokens: 9 };
/** What one answer of the stand-in costs, in nanodollars. */
export const COST_NANODOLLARS = USAGE.input_tokens * HAIKU_PRICE.input + USAGE.output_tokens * HAIKU_PRICE.output;

/** A message of the upstream's with this text. */
export const textMessage = (text: string, more: object = {}) => ({
  id: 'msg_01',
  type: 'message',
  role: 'assistant',
  model: HAIKU,
  content: [{ type: 'text', text }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: USAGE,
  ...more,
});

export const labelMessage = (label: unknown, more: object = {}) => textMessage(JSON.stringify({ label, ...more }));

/** The text between the tags of a request that has gone up. */
export function inputTextOf({ text }: Pick<SentRequest, 'text'>): string {
  const { messages } = JSON.parse(text) as { messages: { content: { text: string }[] }[] };
  const block = messages.at(-1)?.content[0]?.text ?? '';
  return /^<(input-\w+)>\n([\s\S]*)\n<\/\1>$/.exec(block)?.[2] ?? '';
}

export interface Caller {
  account: string;
  app: TestApp;
  headers: Record<string, string>;
  /** Sends to /classify, or to another path. */
  request(
    body: unknown,
    init?: { path?: string; method?: string; headers?: object; signal?: AbortSignal },
  ): Promise<Response>;
  getObject: () => DurableObjectStub<Account>;
  /** The ledger at rest, oldest first. */
  readLedgerRows(): Promise<LedgerRow[]>;
}

let callerCount = 0;

/** An account of its own that asks a deployed edge. Counts are answered, as far as `answer` leaves them. */
export async function createClassifyCaller(
  answer: (request: SentRequest, nth: number) => object | Response | Promise<object | Response>,
  { limits = {}, vars = {}, scopes = ['classify', 'prefixes'] }: CallerOptions = {},
): Promise<Caller> {
  const account = `labels-${++callerCount}-${crypto.randomUUID()}`;
  let nth = 0;
  const app = createTestApp(
    async (sent) => {
      if (sent.url.pathname.endsWith('/count_tokens')) return Response.json({ input_tokens: 200 });
      const given = await answer(sent, nth++);
      return given instanceof Response ? given : Response.json(given);
    },
    { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', DEFAULT_LIMITS: JSON.stringify(limits), ...vars },
  );
  const headers = bearerHeader(await createToken(account, scopes));
  const object = () => getAccountStub(bindings, {}, account) as unknown as DurableObjectStub<Account>;
  return {
    account,
    app,
    headers,
    getObject: object,
    request: (body, { path = '/classify', method = 'POST', headers: more = {}, signal } = {}) =>
      app.fetch(path, {
        method,
        headers: { 'content-type': 'application/json', ...headers, ...more },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        ...(signal ? { signal } : {}),
      }),
    readLedgerRows: async () => {
      await app.waitUntilSettled();
      const { data } = (await object().listRequests({ limit: 1_000 })) as unknown as { data: LedgerRow[] };
      return data.reverse();
    },
  };
}

interface CallerOptions {
  limits?: Limits;
  vars?: Record<string, unknown>;
  scopes?: Parameters<typeof createToken>[1] & string[];
}
