/** Finds what a request uses that only one upstream has. */

import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { isObject } from '../../kit/json/object.ts';
import type { UpstreamBoundResourceKind, UpstreamPool } from '../upstreams/pool.ts';
import { getContainerIds } from './referenced-ids.ts';
import { getJsonWithoutHistory, RequestBody } from './request-body.ts';

const FILE_ID_KEY = '"file_id"';

/**
 * @returns the kind of thing that a request uses and that only one upstream has; undefined for most requests, and if there is
 *   only one upstream
 */
export function findUpstreamBoundResource(
  body: JsonBody,
  { all }: Pick<UpstreamPool, 'all'>,
): UpstreamBoundResourceKind | undefined {
  if (all.length < 2) return undefined;
  const json = getJsonWithoutHistory(body);
  // Only a container given by its id exists already and belongs to one upstream. Any other `container` creates a new one.
  if (getContainerIds(json.container).length > 0) return 'a container';
  if (isObject(json.thread) && typeof json.thread.previous_message_id === 'string') return 'a thread';
  const text = body instanceof RequestBody ? decoder.decode(body.bytes) : body.text;
  return text.includes(FILE_ID_KEY) ? 'a file' : undefined;
}
