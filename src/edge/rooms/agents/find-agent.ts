/** Finds a stored agent for a Worker's object, or for a request. */

import type { Identity } from '../../gate/identity/caller.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { requireStored } from '../../named/versions/find-stored.ts';
import type { Agent } from './agent.ts';
import { AGENTS } from './agent-kind.ts';

/** An agent that was found, of which nothing may be changed: others share it. */
export interface FoundAgent extends Readonly<Agent> {
  /** The account that has stored it, or what stands for the deployment. */
  owner: string;
  name: string;
  hash: string;
  /** name@version: for ever the same. */
  version: string;
}

/**
 * Finds what an account means by the name of an agent, or by `name@version`: its own before the deployment's.
 *
 * @param by who has stored what names the agent: an account, or what stands for the deployment. Only their agents and the
 * deployment's count then, so that nobody can put an agent of theirs in the place of one that an admin's agent calls
 * @param listed the versions that the caller's token lists
 * @throws ApiError 404 for what does not exist, 503 while it cannot be asked for
 */
export async function findAgent(
  { env, settings }: { env: Bindings; settings: Settings },
  { account, scopes }: Pick<Identity, 'account' | 'scopes'>,
  ref: string,
  by = account,
  listed: readonly string[] = [],
): Promise<FoundAgent> {
  const reader = { account, scopes, listed, accounts: env, store: env.STORE, settings };
  const { owner, name, hash, value } = await requireStored(AGENTS, reader, ref, [by, DEPLOYMENT]);
  return { ...value, owner, name, hash, version: `${name}@${hash}` };
}
