import { failedResult, unknownConversation } from '../../talk/answers/crossing-answer.ts';
import type {
  BoundCaller,
  CalledDecision,
  CrossingText,
  DecisionAnswer,
  Result,
} from '../../talk/contracts/conversation.ts';
import type { ConversationPart, OpenConversation } from '../../talk/conversations/parts.ts';
import { decideOn } from './continue-run.ts';
import { awaitsApproval, cancelWaiting, openApprovals } from './decide.ts';

/** What waits for approval in a conversation. */
export const approvalsPart: ConversationPart = {
  refusal: awaitsApproval,
  cancel: cancelWaiting,
  methods: { list: listOpen, decide },
};

/** @returns the calls that wait for approval, as JSON text */
function listOpen({ context, profile, refusalOf }: OpenConversation, by?: BoundCaller): Result<CrossingText> {
  if (!profile()) return unknownConversation();
  const refused = refusalOf(by);
  return refused ? failedResult(refused) : { ok: true, value: openApprovals(context.transcript) };
}

/** Decides on a call that waits for approval. The last decision of a step begins the turn that goes on. */
async function decide(object: OpenConversation, decision: CalledDecision): Promise<Result<DecisionAnswer>> {
  const { context, hooks, profile, refusalOf, withdrawal, begun } = object;
  const withdrawn = decision.decision === 'approve' && (await withdrawal());
  if (withdrawn) return failedResult(withdrawn);
  if (!profile()) return unknownConversation();
  const refused = refusalOf(decision.by);
  if (refused) return failedResult(refused);
  const { going, result } = decideOn(context, decision, hooks);
  if (going) begun(going);
  context.maintenance.notePaused();
  return result;
}
