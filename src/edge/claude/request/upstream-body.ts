import type { JsonBody, SendableBody } from '../../kit/http/body/json-body.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { editJson, type JsonMemberChanges } from '../../kit/json/edit.ts';
import { RequestBody } from './request-body.ts';

/**
 * Makes the body that is sent.
 *
 * @param changes changes of its top-level members
 * @returns the caller's own bytes if nothing changes; otherwise the changed text
 */
export function createUpstreamBody(body: JsonBody, changes: JsonMemberChanges): SendableBody {
  // A conversation's body builds its text on demand, so change it without building the text or parsing the history.
  const isSame = Object.keys(changes).length === 0;
  if (!isSame && body instanceof RequestBody && changes.messages === undefined) return body.withChanges(changes).bytes;
  if (isSame && !(body instanceof LongStringBody)) return body.bytes;
  const text = isSame ? body.text : editJson(body.text, changes);
  if (body instanceof LongStringBody) return body.createSendableBody(text);
  return text === body.text ? body.bytes : text;
}
