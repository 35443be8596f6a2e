import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Approval, ApprovalDecision } from '../../../client/index.ts';
import { useAction } from '../../edge/async-action.ts';
import { SmallButton } from '../../ui/button.tsx';
import { Fault } from '../../ui/fault.tsx';
import { Icon } from '../../ui/icon.tsx';
import { indentedJson } from '../../wire/indented-json.ts';
import { mayDecide } from '../session/approvals.ts';
import type { Session } from '../session/session.ts';

/** Shows the calls that wait for approval, each with what can be decided. */
export function ApprovalCards({ session }: { session: Session }) {
  const { fault, run } = useAction();
  useEffect(() => {
    void run(() => session.readApprovals());
  }, [session, run]);
  return (
    <div class="stack">
      {fault.value && <Fault text={fault.value} />}
      {session.approvals.value.map((approval) => (
        <ApprovalCard key={approval.id} approval={approval} session={session} />
      ))}
    </div>
  );
}

function ApprovalCard({ approval, session }: { approval: Approval; session: Session }) {
  const { busy, fault, run } = useAction();
  const told = indentedJson(approval.input_text ?? 'null');
  const input = useSignal(told);
  const reason = useSignal('');
  const isMine = mayDecide(approval);
  const decide = (decision: () => ApprovalDecision) => void run(async () => session.decide(approval.id, decision()));
  const approve = () =>
    decide(() => ({ decision: 'approve', ...(input.value === told ? {} : { input_text: validText(input.value) }) }));
  const deny = () =>
    decide(() => ({ decision: 'deny', ...(reason.value.trim() === '' ? {} : { reason: reason.value.trim() }) }));
  return (
    <section class="panel stack approval" aria-label={`Approval of ${approval.name}`}>
      <p class="inline">
        <Icon name="tool" />
        <span>
          <code>{approval.name}</code> {isMine ? 'needs your approval' : 'needs an admin’s approval'}
        </span>
      </p>
      <label class="labelled">
        Input
        <textarea
          class="json"
          rows={Math.min(12, told.split('\n').length)}
          disabled={!isMine || busy.value}
          value={input.value}
          onInput={(event) => (input.value = event.currentTarget.value)}
        />
      </label>
      {fault.value && <Fault text={fault.value} />}
      {isMine && (
        <div class="row">
          <SmallButton
            kind="first"
            name={input.value === told ? 'Approve' : 'Approve with this input'}
            disabled={busy.value}
            onClick={approve}
          />
          <SmallButton name="Deny" disabled={busy.value} onClick={deny} />
          <input
            class="approval-reason"
            aria-label="Reason for denying"
            placeholder="Reason, told to the model (optional)"
            maxLength={4_000}
            value={reason.value}
            onInput={(event) => (reason.value = event.currentTarget.value)}
          />
        </div>
      )}
    </section>
  );
}

/** @throws Error with a sentence for the user */
function validText(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('The input must be a JSON object, such as {"amount": 20}.');
  }
  return text;
}
