/** Keeps what was made at an upstream to the account that made it: files, containers, threads. */

import { pause } from '../../async/pause.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import type { Belonging } from '../../durable/contracts/belongings.ts';
import { type ApiError, finalError, invalidRequest } from '../../http/errors.ts';
import type { MadeId, MadeKind } from '../../upstream/usage/made-ids.ts';

/** An answer has given out an id a moment ago, and the account is still being told of it: so it is asked once more. */
const NOTED_AFTER_MS = 500;

/** The API's words for what is not there. */
const UNKNOWN: Readonly<Record<MadeKind, (id: string) => string>> = {
  file: (id) => `File not found: ${id}`,
  container: (id) => `Container not found: ${id}`,
  thread: (id) => `thread: no usable Thread state was found for previous_message_id ${id}`,
};

/** @returns the 404 for what is not there, or is somebody else's: nobody can find out which ids exist. */
export function unknownMade({ kind, id }: MadeId): ApiError {
  // By this code the official client knows that it must send the whole conversation again.
  const details = kind === 'thread' ? { error_code: 'thread_not_found' } : undefined;
  return finalError('not_found_error', UNKNOWN[kind](id.slice(0, 128)), { details });
}

/**
 * Finds where things are that a request names.
 *
 * @returns those of them that are the account's
 */
async function findOwn(request: AccountRequest, ids: readonly MadeId[]): Promise<Map<string, Belonging>> {
  const found = await callAccount(request, (account) => account.belongings(ids.map(({ id }) => id)));
  return new Map(found.map((one) => [`${one.kind} ${one.id}`, one]));
}

/**
 * Checks that all that a request names is the account's own.
 *
 * @returns the upstream that has it, to which the request must go alone; undefined where the request names nothing, or where
 * there was one upstream only
 * @throws ApiError 404 for what is not the account's, 400 for things of several upstreams
 */
export async function checkOwned(request: AccountRequest, ids: readonly MadeId[]): Promise<string | undefined> {
  if (ids.length === 0) return undefined;
  const missing = (found: Map<string, Belonging>) => ids.find(({ kind, id }) => !found.has(`${kind} ${id}`));
  let found = await findOwn(request, ids);
  if (missing(found)) {
    await pause(NOTED_AFTER_MS);
    found = await findOwn(request, ids);
  }
  const unknown = missing(found);
  if (unknown) throw unknownMade(unknown);
  const [only, another] = new Set([...found.values()].map(({ upstream }) => upstream).filter((name) => name !== ''));
  if (another !== undefined) {
    throw invalidRequest(
      `The request names what the upstream ${only} has, and what ${another} has. One request goes to one of them: upload the files again.`,
    );
  }
  return only;
}

/**
 * Notes what an answer has made as the account's.
 *
 * @param upstream the one that has answered; undefined where there is one only
 */
export async function noteMade(
  request: AccountRequest,
  made: readonly MadeId[] | undefined,
  upstream: string | undefined,
): Promise<void> {
  if (!made || made.length === 0) return;
  const belongings = made.map((one) => ({ ...one, upstream: upstream ?? '' }));
  await callAccount(request, (account) => account.noteMade(belongings), 'persistent');
}
