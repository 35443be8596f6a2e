/** What comes of a call of the official client, in a form in which two outcomes can be compared. */

import { AnthropicError, APIError } from '@anthropic-ai/sdk';

/** What differs from one call to the next: ids, times, where the results of a batch are, signatures behind ids. */
const CHANGING_MEMBERS: readonly [RegExp, string][] = [
  [/\b(msg|msgbatch|file|req|toolu|srvtoolu)_[a-zA-Z0-9]{10,}/g, '$1_…'],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'some time'],
  [/"signature":"[\w+/=]{20,}"/g, '"signature":"…"'],
  [/https?:\/\/[\w.:]+\/v1\//g, 'https://…/v1/'],
];

/** The events that the helper of streams tells its listeners. */
const EVENTS =
  'connect streamEvent text citation inputJson thinking signature message contentBlock finalMessage error end';

function toPlain(value: unknown): unknown {
  const text = CHANGING_MEMBERS.reduce((all, [what, by]) => all.replace(what, by), JSON.stringify(value) ?? 'null');
  return JSON.parse(text);
}

/** What the results of the client may have, beside what they are. */
interface Result extends AsyncIterable<unknown> {
  iterPages?(): AsyncIterable<{ data: unknown[] }>;
  on?(event: string, listener: () => void): void;
  finalMessage?(): Promise<unknown>;
  finalText?(): Promise<string>;
  runUntilDone?(): Promise<unknown>;
}

function isIterable(value: unknown): value is Result {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** Reads all that a result can be: bytes, pages to the last one, events with what the client makes of them. */
async function readWholeResult(result: unknown): Promise<unknown> {
  if (result instanceof Response) return { type: result.headers.get('content-type'), text: await result.text() };
  if (!isIterable(result)) return result;
  const told: string[] = [];
  for (const event of EVENTS.split(' ')) result.on?.(event, () => told.push(event));
  const all: unknown[] = [];
  for await (const one of result) all.push(isIterable(one) ? await readWholeResult(one) : one);
  const pages: number[] = [];
  if (result.iterPages) for await (const { data } of result.iterPages()) pages.push(data.length);
  const [message, text] = [await result.finalMessage?.(), await result.finalText?.()];
  return { all, told, pages, message, text, done: await result.runUntilDone?.() };
}

/** @returns what a call comes to: its result, or the class of its error with status and words */
export async function readOutcome(call: () => unknown): Promise<unknown> {
  try {
    return toPlain(await readWholeResult(await call()));
  } catch (thrown) {
    // Anything else is a mistake in how the test calls.
    if (!(thrown instanceof AnthropicError)) throw thrown;
    const error = thrown.constructor.name;
    if (!(thrown instanceof APIError)) return { error, says: thrown.message };
    const { status, type, error: envelope } = thrown;
    const { message, details } = ((envelope ?? {}) as { error?: Record<string, unknown> }).error ?? {};
    return toPlain({ error, status, type, says: message ?? thrown.message, details });
  }
}

/** Writes an outcome as text, its members in the order of their names. @param omittedMembers members that are left out, but of capabilities */
export function serializeOutcome(outcome: unknown, omittedMembers: readonly string[] = []): string {
  const sortMembers = (value: unknown, within = ''): unknown => {
    if (Array.isArray(value)) return value.map((one) => sortMembers(one));
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).filter(
      ([name]) => within === 'capabilities' || !omittedMembers.includes(name),
    );
    return Object.fromEntries(
      entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, sortMembers(inner, name)]),
    );
  };
  return JSON.stringify(sortMembers(outcome)) ?? 'null';
}
