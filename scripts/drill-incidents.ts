/** The incidents of a drill: what users say, how each is provoked, which line of the log shows it, and what would mend it. */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { DrillEdge, Logged, LogLine } from './drill-edge.ts';
import { signGithub } from './sign-webhook.ts';

export interface Incident {
  /** What it is, as it stands in the list of choices. */
  cause: string;
  /** What the operator hears of it. */
  heard: string;
  /** What an operator would do, in one sentence. */
  remedy: string;
  /** Its heading in the runbook. */
  heading: string;
  /** Provokes it, or once more: the log may show it only after the next request. */
  provoke(edge: DrillEdge): Promise<unknown>;
  /** @returns whether this line of the log shows it */
  isShownBy(line: LogLine): boolean;
  mend(edge: DrillEdge): Promise<unknown>;
}

const MODEL = 'claude-haiku-5-5';
// An upstream is left alone for each model by itself, so that one incident is not seen in the next one.
const LARGE = 'claude-opus-5-5';
const REFUSED = 'claude-sonnet-5';
const LIMITS = '/pools/deployment/limits';

/** By the names that choose them on the command line. */
export const INCIDENTS: Readonly<Record<string, Incident>> = {
  key: {
    cause: 'Anthropic refuses the key of this deployment.',
    heard: 'Several users: “Since a minute ago, every question ends with an error.”',
    remedy:
      'Pay what is owed, or make a new key in the Console and put it with `npx wrangler secret put` (here UPSTREAM_CLAUDE_KEY).',
    heading: 'The key is refused',
    provoke: async (edge) => {
      edge.fault = () => refusal(401, 'authentication_error', 'invalid x-api-key');
      for (const account of ['ann', 'ben']) await ask(edge, account, REFUSED);
    },
    isShownBy: (line) => line.error_type === 'upstream_auth',
    mend: healed,
  },
  budget: {
    cause: 'One account has spent the budget of all.',
    heard: 'jo: “It is my first question today, and it is refused.”',
    remedy:
      'Limit the account that has spent it (here ines), and then raise the budget of all (PUT /pools/deployment/limits).',
    heading: 'A budget is spent at noon',
    provoke: async (edge) => {
      await admin(edge, 'PUT', LIMITS, { usd_per_day: 0.03 });
      for (let asked = 0; asked < MOST_ASKED; asked += 1) if ((await ask(edge, 'ines', LARGE)) === 429) break;
      await ask(edge, 'jo', LARGE);
    },
    isShownBy: (line) => line.account === 'jo' && line.error_type === 'billing_error',
    mend: (edge) => admin(edge, 'PUT', LIMITS, {}),
  },
  webhook: {
    cause: 'The receiver of a webhook’s results fails.',
    heard: 'A colleague: “The issue that I have opened at GitHub has no label in our own system.”',
    remedy:
      'Repair the receiver at GITHUB_WEBHOOK_DELIVER_URL: the edge tries again by itself, and what is parked by then you replay.',
    heading: 'A webhook is late',
    provoke: async (edge) => {
      edge.receiverStatus = 500;
      const body = JSON.stringify({ action: 'opened', issue: { title: 'The app crashes', body: 'This is a bug.' } });
      const headers = await signGithub(body, edge.webhookSecret, 'issues', randomUUID());
      headers.set('content-type', 'application/json');
      await answered(await fetch(`${edge.url}/webhooks/github`, { method: 'POST', headers, body }));
    },
    isShownBy: (line) => line.source === 'github' && line.state === 'again',
    mend: async (edge) => {
      edge.receiverStatus = 204;
    },
  },
  token: {
    cause: 'The token of one user was revoked.',
    heard: 'kim: “It worked this morning, and now it does not. My colleagues have no trouble.”',
    remedy: 'Mint a new token for the user (POST /tokens), after you have asked who revoked the old one, and why.',
    heading: 'Users get 401',
    provoke: async (edge) => {
      const token = await mint(edge, 'kim');
      await admin(edge, 'DELETE', '/accounts/kim/tokens');
      await ask(edge, 'kim', MODEL, token);
    },
    isShownBy: (line) => line.account === 'kim' && line.status === 401,
    mend: async () => {},
  },
  overloaded: {
    cause: 'Anthropic is overloaded.',
    heard: 'lee: “The large model gives me no answer. The small one does.”',
    remedy: 'Wait, and tell users to take the small model; `fallback_models` or another upstream helps the next time.',
    heading: 'Users get 529',
    provoke: async (edge) => {
      edge.fault = (model) => (model === LARGE ? refusal(529, 'overloaded_error', 'Overloaded') : undefined);
      await until(edge, 'The upstream is still called', async () => {
        await ask(edge, 'lee', LARGE);
        return (await isLeftAlone(edge)) || undefined;
      });
    },
    isShownBy: (line) => line.error_type === 'overloaded_error',
    mend: healed,
  },
};

/** What it might have been, too. */
export const OTHER_CAUSES = [
  'A conversation is damaged.',
  'A setting is malformed.',
  'An account sends too many requests in a minute.',
];

const MOST_ASKED = 40;
const WAIT_MS = 60_000;
const LOOK_MS = 100;

/** @returns the first line of the log that shows an incident. @throws Error if none comes */
export async function lineOf(incident: Incident, edge: DrillEdge, since: number): Promise<Logged> {
  const find = () => edge.log.slice(since).find(({ line }) => incident.isShownBy(line));
  return await until(edge, 'The log does not show it', find);
}

/** Makes a token. */
export async function mint(edge: DrillEdge, account: string, scopes = ['messages']): Promise<string> {
  const answer = await admin(edge, 'POST', '/tokens', { account, scopes });
  return ((await answer.json()) as { token: string }).token;
}

/** Waits until both models are answered: the edge leaves one that has failed alone for a while. */
export async function isWhole(edge: DrillEdge): Promise<void> {
  for (const model of [MODEL, LARGE]) {
    await until(edge, `${model} is not answered`, async () =>
      (await ask(edge, 'probe', model)) === 200 ? true : undefined,
    );
  }
}

/** Asks a question. @returns the status of the answer */
async function ask(edge: DrillEdge, account: string, model: string, token?: string): Promise<number> {
  const by = token ?? (await mint(edge, account));
  const messages = [{ role: 'user', content: 'What shall we do tonight?' }];
  const answer = await fetch(`${edge.url}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${by}` },
    body: JSON.stringify({ model, max_tokens: 60, messages }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

async function admin(edge: DrillEdge, method: string, path: string, body?: object): Promise<Response> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${edge.token}` };
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  return await answered(await fetch(edge.url + path, { method, headers, ...sent }));
}

/** @throws Error for an answer that is no success: the drill itself is broken then */
async function answered(answer: Response): Promise<Response> {
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`);
  return answer;
}

async function isLeftAlone(edge: DrillEdge): Promise<boolean> {
  const answer = await admin(edge, 'GET', '/health?upstreams');
  const { upstreams = [] } = (await answer.json()) as { upstreams?: { models: { model: string; state: string }[] }[] };
  return upstreams.some(({ models }) => models.some(({ model, state }) => model === LARGE && state === 'open'));
}

async function healed(edge: DrillEdge): Promise<void> {
  edge.fault = undefined;
}

function refusal(status: number, type: string, message: string): Response {
  return Response.json({ type: 'error', error: { type, message } }, { status });
}

/** Looks again and again. @throws Error with a sentence if nothing is found within a minute, or if the edge ends */
async function until<T>(
  edge: DrillEdge,
  sentence: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    const found = await look();
    if (found !== undefined) return found;
    await Promise.race([pause(LOOK_MS), edge.ended]);
  }
  throw new Error(`${sentence} after a minute. The log is in ${edge.logFile}.`);
}
