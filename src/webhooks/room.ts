/** Room for bodies that nobody has vouched for yet: what strangers send must not be what an isolate ends of. */
import { ApiError } from '../errors.ts';

/** What every sender sends at the most, but for the few that are asked to send more: it always has room. */
const SMALL_BYTES = 1024 * 1024;
/** For all larger ones at a time. An isolate has 128 MB, and holds a body in two or three forms. */
const MOST_BYTES = 40 * 1024 * 1024;

let taken = 0;

/**
 * Works on a body while there is room for it.
 *
 * @param work gets what it calls with the length of the body, as soon as it knows it or that it grows
 * @throws ApiError 503 where others take up the room
 */
export async function withRoom<T>(work: (grow: (bytes: number) => void) => Promise<T>): Promise<T> {
  let own = 0;
  const grow = (bytes: number) => {
    if (bytes <= SMALL_BYTES || bytes <= own) return;
    if (taken - own + bytes > MOST_BYTES) {
      throw new ApiError('api_error', 'Too many large webhooks at the same time. Send it again in a moment.', {
        status: 503,
        headers: { 'retry-after': '5' },
        logged: 'webhook_room',
      });
    }
    taken += bytes - own;
    own = bytes;
  };
  try {
    return await work(grow);
  } finally {
    taken -= own;
  }
}
