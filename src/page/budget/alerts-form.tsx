import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { useAction } from '../edge/async-action.ts';
import { fieldFault } from '../edge/field-fault.ts';
import { identity } from '../edge/identity.ts';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { deployment, groupNames } from './figures/overview.ts';
import { type Limited, limitsOf, patchLimits } from './figures/patch-limits.ts';
import { sharesIn, sharesText } from './figures/shares.ts';

/** Asks at which shares of whose limits an alert is told. */
export function AlertsForm() {
  const whose = useSignal(deployment.peek() ? 'deployment ' : `account ${identity.peek().account}`);
  const groups = useSignal<string[]>([]);
  const stored = useSignal('');
  // What somebody types while the stored shares are still on their way stays.
  const typed = useSignal<string | undefined>(undefined);
  const hasLimit = useSignal(true);
  const [reading, saving] = [useAction(), useAction()];
  const [kind, id] = chosenIn(whose.value);
  useEffect(() => {
    let isChosen = true;
    typed.value = undefined;
    void reading.run(async () => {
      const [limits, names] = await Promise.all([limitsOf(kind, id), groupNames()]);
      if (!isChosen) return;
      groups.value = names;
      stored.value = sharesText(limits.alerts);
      hasLimit.value = Object.keys(limits).some((name) => name.startsWith('usd_'));
    });
    return () => {
      isChosen = false;
    };
  }, [kind, id, reading, groups, stored, typed, hasLimit]);
  const shares = typed.value ?? stored.value;
  const save = () =>
    saving.run(async () => {
      await patchLimits(kind, id, { alerts: sharesIn(shares) });
      announce('The alerts are saved.');
    });
  const fault = saving.fault.value ?? reading.fault.value;
  const { field, said } = fieldFault(fault ?? '', ['alerts']);
  return (
    <Form onSubmit={() => void save()}>
      <div class="fields">
        <Field label="Whose limits" note="Those of another account are changed under Accounts.">
          {(ids) => (
            <Select
              {...ids}
              value={whose.value}
              options={[
                ...(deployment.value ? [['deployment ', 'All accounts together'] as const] : []),
                ...groups.value.map((name) => [`group ${name}`, `Group ${name}`] as const),
                [`account ${identity.value.account}`, `Account ${identity.value.account}`],
              ]}
              onChoose={(value) => (whose.value = value)}
            />
          )}
        </Field>
        <Field
          label="Tell at, in % of each limit in dollars"
          fault={field && said}
          note={hasLimit.value ? 'Empty: nothing is told.' : 'It has no limit in dollars of its own yet.'}
        >
          {(ids) => (
            <input
              {...ids}
              inputMode="decimal"
              placeholder="50, 80, 100"
              autocomplete="off"
              value={shares}
              onInput={(event) => (typed.value = event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
      {fault && !field && <Fault text={said} />}
      <p class="row">
        <SubmitButton name="Save alerts" disabled={saving.busy.value} />
      </p>
    </Form>
  );
}

function chosenIn(whose: string): [kind: Limited, id: string] {
  const at = whose.indexOf(' ');
  return [whose.slice(0, at) as Limited, whose.slice(at + 1)];
}
