/** Prepares the prompt of a conversation's next turn, for a token count. Nothing is stored. */

import { toApiError } from '../../kit/http/errors.ts';
import { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { requireUnrevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { getRestrictedTokenGuard } from '../history/guard.ts';
import { planNextRequest } from '../history/next-request.ts';
import { restoreEdgeCallsInText } from '../views/edge-blocks.ts';
import { planTurnByPluginsOrDefault, requireSameInitialContext } from './begin-turn.ts';
import type { NextPromptRequest, PromptToCount } from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import {
  findWithdrawalError,
  type InitialContext,
  readRetainedAgent,
  resolveInitialContext,
} from './initial-context.ts';
import { createAccountRequest } from './object-context.ts';
import { applyRetainedPrefix } from './retained-prefix.ts';
import { readRpcText, toFailedResult } from './rpc-response.ts';

/** @returns the prompt of the next turn as it would be sent; undefined if the conversation does not exist yet */
export async function prepareNextPrompt(
  state: ConversationState,
  request: NextPromptRequest,
): Promise<PromptToCount | undefined> {
  try {
    const sent = await readRpcText(request.body);
    const { only } = request.caller;
    if (!state.visibleProfile?.exists && !only) return undefined;
    const body = state.visibleProfile?.turns ? sent : await restoreEdgeCallsInText(sent);
    const profile = state.visibleProfile;
    // For a restricted token, the object plans the prompt even if the conversation does not exist yet, because only the object
    // checks all restrictions. So resolve the prefix or agent that the first turn would use.
    const initialContext =
      only && !profile
        ? await resolveInitialContext(state, request.conversationKey, request.edgeOptions, request.caller)
        : undefined;
    return await buildNextPrompt(state, { ...request, body }, initialContext);
  } catch (thrown) {
    // If the caller's token is revoked, report only that: a revoked caller must not learn whether the conversation exists.
    const refused = await requireUnrevokedCaller(createAccountRequest(state, request.caller)).catch(toApiError);
    return toFailedResult(refused ?? thrown);
  }
}

/** @throws ApiError as planning a turn does */
async function buildNextPrompt(
  state: ConversationState,
  request: NextPromptRequest & { body: string },
  initialContext: InitialContext | undefined,
): Promise<PromptToCount> {
  const { caller: identity, body, edgeOptions } = request;
  const requireAllowedProfile = () => {
    const refused =
      identity.only &&
      getRestrictedTokenGuard().findTurnRestrictionError(
        identity,
        state.transcript,
        state.visibleProfile,
        initialContext?.agent,
      );
    if (refused) throw refused;
    return state.visibleProfile;
  };
  const before = requireAllowedProfile();
  if (before) requireSameInitialContext(before, edgeOptions);
  const withdrawn = await findWithdrawalError(state, before);
  if (withdrawn) throw withdrawn;
  // Re-check after the await: the conversation may have been deleted, and another one created with the same id.
  const profile = requireAllowedProfile();
  const agent = profile ? readRetainedAgent(state) : initialContext?.agent && initialContext.stored;
  const isRestricted = identity.only !== undefined;
  const planned = planTurnByPluginsOrDefault(state, { pluginContext: new PluginContextValues() }, agent, (model) =>
    planNextRequest(body, state.transcript, state.settings(), {
      agent,
      counts: true,
      isRestricted,
      model,
      defaults: agent ? undefined : edgeOptions.defaults,
    }),
  );
  const { account = '', prefix: retained } = profile ?? {};
  const { bytes } = retained ? (await applyRetainedPrefix(state, account, retained, planned.body)).body : planned.body;
  const { betas = [] } = agent?.definition ?? {};
  return { ok: true, value: new Blob([bytes]).stream(), betas: betas.length > 0 ? betas : undefined };
}
