/** Gateways that give several answers the same id, or none that can be a message's. */
import { asText, type Json } from '#edge/kit/json/object.ts';
import type { Scripted } from '#test/support/scripted-runs.ts';
import { message } from '#test/support/wire.ts';

/** The id of all answers of a gateway. */
export const CONSTANT_ID = 'chatcmpl-constant';
/** What gateways write in place of an id: it is empty, no string, absent, too long, or no word. */
export const NO_IDS: readonly unknown[] = ['', null, 7, undefined, 'x'.repeat(129), 'two words'];

/** @returns an answer's stream with this id. All else stays as it came @param id undefined: there is none */
export const withIdIn = (stream: string, id: unknown): string =>
  stream.replace(/("message":\{)"id":"[^"]*",/, (_, before: string) =>
    id === undefined ? before : `${before}"id":${JSON.stringify(id)},`,
  );

/** @returns an answer that comes as a stream with this id */
export const streamedAs = (id: unknown, answer: Scripted): Scripted => ({
  ...answer,
  change: (text) => withIdIn(asText(answer.change?.(text) ?? text), id),
});

/** @returns an answer that comes whole with this id, although a stream was asked for */
export const wholeAs = (id: unknown, { content, stop_reason = 'end_turn' }: Scripted): Response =>
  Response.json(message({ id, content, stop_reason } satisfies Json));
