import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { useAction } from '../edge/async-action.ts';
import { model } from '../edge/models.ts';
import { Fault } from '../ui/fault.tsx';
import { NEW_AGENT } from '../ui/route.ts';
import { type AgentDraft, agentDrafts, draftOf, emptyDraft } from './agent-draft.ts';
import { AgentForm } from './agent-form.tsx';
import { readVersion } from './list.ts';

/** Shows the form of a new agent. */
export function NewAgent() {
  return (
    <>
      <FormHead title="New agent" back="#/agents" backName="All agents" of={NEW_AGENT} />
      {model.value && <AgentForm of={NEW_AGENT} stored={emptyDraft(model.value.id)} />}
    </>
  );
}

/** Shows the form of a stored agent. */
export function EditAgent({ name }: { name: string }) {
  const { fault, run } = useAction();
  const stored = useSignal<AgentDraft | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      stored.value = draftOf(await readVersion(name));
    });
  }, [name, run, stored]);
  return (
    <>
      <FormHead title={`Edit ${name}`} back={`#/agents/${encodeURIComponent(name)}`} backName={name} of={name} />
      {fault.value && <Fault text={fault.value} />}
      {stored.value && <AgentForm of={name} stored={stored.value} />}
    </>
  );
}

interface FormHeadProps {
  title: string;
  back: string;
  backName: string;
  /** Whose draft it is. */
  of: string;
}

function FormHead({ title, back, backName, of }: FormHeadProps) {
  return (
    <header class="apart page-head">
      <h1>
        {title} {agentDrafts.value[of] && <span class="tag waits">not stored yet</span>}
      </h1>
      <a href={back}>{backName}</a>
    </header>
  );
}
