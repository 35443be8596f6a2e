import type { JsonBody } from '../../http/json-body.ts';
import { LongBody } from '../../http/long-body.ts';
import type { Sendable } from '../../http/sendable.ts';
import { type Changes, edit } from '../../json/edit.ts';

/**
 * Makes the body that goes up.
 *
 * @param changes of its outermost members
 * @returns the caller's own bytes if nothing changes, else the changed text
 */
export function bodyUp(body: JsonBody, changes: Changes): Sendable {
  const text = Object.keys(changes).length > 0 ? edit(body.text, changes) : body.text;
  if (body instanceof LongBody) return body.sendable(text);
  return text === body.text ? body.bytes : text;
}
