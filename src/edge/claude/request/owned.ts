/** Finds what a request uses that only one upstream has. */

import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { isObject } from '../../kit/json/object.ts';
import type { Owned, UpstreamPool } from '../upstreams/pool.ts';
import { containerIds } from './named-ids.ts';
import { ownOf, RequestBody } from './request-body.ts';

const FILE = '"file_id"';

/**
 * @returns the kind of thing that a request uses and that only one upstream has; undefined for most requests, and if there is
 *   only one upstream
 */
export function ownedIn(body: JsonBody, { all }: Pick<UpstreamPool, 'all'>): Owned | undefined {
  if (all.length < 2) return undefined;
  const json = ownOf(body);
  // A container that is named by its id exists. Anything else makes a new one.
  if (containerIds(json.container).length > 0) return 'a container';
  if (isObject(json.thread) && typeof json.thread.previous_message_id === 'string') return 'a thread';
  const text = body instanceof RequestBody ? decoder.decode(body.bytes) : body.text;
  return text.includes(FILE) ? 'a file' : undefined;
}
