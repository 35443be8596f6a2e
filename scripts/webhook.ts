/**
 * Signs a sample as its sender would, sends it to the local server, and prints the answer and the result:
 * `npm run webhook -- github issue.json [--id …]`. Samples are in examples/webhooks; other files are named by their path.
 */

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { parseSettings } from '../src/edge/config/settings.ts';
import type { HmacOptions } from '../src/edge/kit/delivery/hmac.ts';
import { createStandardWebhookHeaders } from '../src/edge/kit/delivery/standard-webhooks.ts';
import { ApiError } from '../src/edge/kit/http/errors.ts';
import { SHIPPED_SOURCES } from '../src/edge/plugins/webhooks/shipped-sources.ts';
import { sourcesOf } from '../src/edge/plugins/webhooks/source-settings.ts';
import { WRITTEN_KINDS } from '../src/edge/plugins/webhooks/sources/github.ts';
import type { EventReport } from '../src/edge/plugins/webhooks/webhooks-answers.schema.ts';
import './all-plugins.mjs';
import { readArguments } from './arguments.ts';
import { readDevVars } from './dev-vars.ts';
import { isInPackage } from './root.ts';
import { signGithub, signHmac, signSlack, signStripe } from './sign-webhook.ts';

type Json = Record<string, unknown>;

const USAGE = `${isInPackage ? 'sluice webhook' : 'npm run webhook --'} ${SHIPPED_SOURCES.join('|')}|SOURCE FILE [--id ID]
  SOURCE  a source that an entry of WEBHOOKS defines with \`verify\`
Sends the event to http://localhost:8787, or to the address in SLUICE_URL.`;
type Sign = (text: string, bytes: Uint8Array, key: string, event: string) => Promise<Headers>;
const SIGNERS: Record<(typeof SHIPPED_SOURCES)[number], Sign> = {
  github: (text, _, key, event) => signGithub(text, key, kindOf(text), event),
  stripe: (_, bytes, key) => signStripe(bytes, key, Date.now()),
  slack: (_, bytes, key) => signSlack(bytes, key, Date.now()),
  standard: (text, _, key, event) => createStandardWebhookHeaders(text, key, event, Date.now()),
};

const SAMPLES = new URL(isInPackage ? '../../examples/webhooks/' : '../examples/webhooks/', import.meta.url);
/** The settings of a source. The environment overrides those of `.dev.vars`. */
const SETTINGS = ['WEBHOOKS', 'DELIVERY_SIGNING_SECRET', 'DELIVER_HOSTS'];
const WORK_MS = 15_000;
const POLL_MS = 100;

const { source, file, id } = readCall();
const url = process.env.SLUICE_URL || 'http://localhost:8787';
const key = await signingKeyOf(source);
const body = await readSample(source, file, id);

const response = await fetch(`${url}/webhooks/${source}`, {
  method: 'POST',
  headers: await signHeaders(source, body, id),
  body,
}).catch(() =>
  stop(`No deployment responds at ${url}. Start one with npm start, or set SLUICE_URL to another address.`),
);
const answer = await response.text();
console.log(`${response.status} ${answer}`);
if (!response.ok) process.exit(1);
const { event_id } = JSON.parse(answer) as { event_id?: string };
if (event_id !== undefined) console.log(JSON.stringify(await waitForEvent(event_id)));

/** @returns the headers that the sender adds */
async function signHeaders(sender: string, text: string, event: string): Promise<Headers> {
  const { secret, hmac } = key;
  const bytes = new TextEncoder().encode(text);
  const headers = await (hmac
    ? signHmac(bytes, secret, hmac)
    : SIGNERS[shippedSource(sender)](text, bytes, secret, event));
  headers.set('content-type', 'application/json');
  return headers;
}

/** @returns GitHub's name for the event of a payload */
function kindOf(text: string): string {
  const payload = JSON.parse(text) as Json;
  if (payload.comment) return 'issue_comment';
  if (payload.pull_request) return 'pull_request';
  return payload.issue ? 'issues' : 'ping';
}

/** @returns a sample with a new id in the body, if its sender has ids there, so that the same file is a new event each time */
async function readSample(sender: string, name: string, event: string): Promise<string> {
  const known = new URL(`${sender}/${name}`, SAMPLES);
  const path = existsSync(name) ? name : known;
  if (!existsSync(path)) {
    const names = await readdir(new URL(`${sender}/`, SAMPLES)).catch(() => []);
    stop(
      `The file ${name} does not exist.${names.length > 0 ? ` Pass the path of a file, or one of the samples of ${sender}: ${names.join(', ')}` : ' Pass the path of a file.'}`,
    );
  }
  const payload = JSON.parse(await readFile(path, 'utf8')) as Json;
  if (key.hmac) return JSON.stringify(withId(payload, key.id ?? '/sample', event));
  // Sluice identifies a GitHub event by the time of its last edit, so set that time to a new value.
  if (sender === 'github') return JSON.stringify(withId(payload, `${pathOfWritten(payload)}/updated_at`, event));
  if (sender === 'stripe') return JSON.stringify({ ...payload, id: event });
  // Slack identifies a message in a channel by its time (`ts`), so set that, too.
  if (sender === 'slack' && typeof payload.event === 'object')
    return JSON.stringify({ ...payload, event_id: event, event: { ...payload.event, ts: event } });
  return JSON.stringify(payload);
}

/** @returns a JSON Pointer to what was written in an event of GitHub */
function pathOfWritten(payload: Json): string {
  return `/${WRITTEN_KINDS.find((kind) => payload[kind])}`;
}

/** @returns a payload with an id at a JSON Pointer, unless an object on the path is missing */
function withId(payload: Json, pointer: string, event: string): Json {
  const steps = pointer.split('/').slice(1);
  const last = steps.pop() ?? '';
  let holder: unknown = payload;
  for (const step of steps) holder = Object(holder)[decodeStep(step)];
  if (typeof holder === 'object' && holder !== null) Object.assign(holder, { [decodeStep(last)]: event });
  return payload;
}

function decodeStep(step: string): string {
  return step.replaceAll('~1', '/').replaceAll('~0', '~');
}

/**
 * @returns the event when it has been processed. A development server requires no credential for a request that no page has
 * sent
 */
async function waitForEvent(event: string): Promise<Json> {
  const deadline = Date.now() + WORK_MS;
  for (;;) {
    const read = await fetch(`${url}/webhooks/${source}/events/${event}`, { headers: { 'sec-fetch-site': 'none' } });
    if (!read.ok) stop(`${read.status} ${await read.text()}`);
    const report = (await read.json()) as EventReport;
    const { state, label, subject } = report;
    // The event is still open while an agent works on it, or before the first attempt.
    const isOpen = state === 'running' || (state === 'accepted' && report.attempts.length === 0);
    if (!isOpen || Date.now() > deadline) return { state, label, subject };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The key by which a source is signed; for a source from the settings also the scheme, and the position of its id. */
interface SourceKey {
  secret: string;
  hmac: HmacOptions | undefined;
  id: string | undefined;
}

async function signingKeyOf(sender: string): Promise<SourceKey> {
  const vars = await readDevVars();
  const given = (setting: string) => process.env[setting] || vars[setting] || '';
  const settings = Object.fromEntries(SETTINGS.map((name) => [name, given(name)]));
  const entry = readSourceEntry(sender, { ...vars, ...settings });
  const hmac = entry?.verify?.hmac;
  if (!hmac) shippedSource(sender);
  const name = entry?.secret ?? `${sender.toUpperCase()}_WEBHOOK_SECRET`;
  const [first] = given(name).split(',');
  if (!first) {
    const how = hmac ? 'Set it there.' : 'For development, npm start creates one.';
    stop(`${name} is not set in the environment or in .dev.vars. ${how}`);
  }
  return { secret: first.trim(), hmac, id: entry?.id };
}

function readSourceEntry(sender: string, vars: Record<string, string>) {
  try {
    return sourcesOf(parseSettings(vars, true)).get(sender);
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    return stop(thrown.message);
  }
}

/** @returns the source, if it is one that Sluice comes with */
function shippedSource(sender: string): (typeof SHIPPED_SOURCES)[number] {
  return SHIPPED_SOURCES.find((known) => known === sender) ?? stop(`Unknown source ${sender}.\nUsage: ${USAGE}`);
}

function readCall(): { source: string; file: string; id: string } {
  const { positionals, values } = readArguments(USAGE, { allowPositionals: true, options: { id: { type: 'string' } } });
  const [named, path] = positionals;
  if (named === undefined || path === undefined) return stop(`Pass a source and a file.\nUsage: ${USAGE}`);
  return { source: named, file: path, id: values.id ?? `local-${randomUUID()}` };
}

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
