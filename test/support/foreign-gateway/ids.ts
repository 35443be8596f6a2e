/** Gateways that give several answers the same id, or none that can be a message's. */
import { type JsonObject, toJsonText } from '#edge/kit/json/object.ts';
import type { ScriptedAnswer } from '#test/support/scripted-runs.ts';
import { messageWith } from '#test/support/wire.ts';

/** The id of all answers of a gateway. */
export const CONSTANT_ID = 'chatcmpl-constant';
/** What gateways write in place of an id: it is empty, no string, absent, too long, or no word. */
export const INVALID_IDS: readonly unknown[] = ['', null, 7, undefined, 'x'.repeat(129), 'two words'];

/** @returns an answer's stream with this id. All else stays as it came @param id undefined: there is none */
export const replaceId = (stream: string, id: unknown): string =>
  stream.replace(/("message":\{)"id":"[^"]*",/, (_, before: string) =>
    id === undefined ? before : `${before}"id":${JSON.stringify(id)},`,
  );

/** @returns an answer that comes as a stream with this id */
export const createStreamWithId = (id: unknown, answer: ScriptedAnswer): ScriptedAnswer => ({
  ...answer,
  change: (text) => replaceId(toJsonText(answer.change?.(text) ?? text), id),
});

/** @returns an answer that comes whole with this id, although a stream was asked for */
export const createMessageWithId = (id: unknown, { content, stop_reason = 'end_turn' }: ScriptedAnswer): Response =>
  Response.json(messageWith({ id, content, stop_reason } satisfies JsonObject));
