import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { Limits } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { findFaultyField } from '../edge/field-fault.ts';
import { availableModels } from '../edge/models.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Facts } from '../ui/facts.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { AlertsNotSentText } from './alerts.tsx';
import { isAlertUrlSet, readAlertUrlState } from './figures/alert-url.ts';
import { formatLimitValue, getLimitTitle, isDollarLimit, isLimitName, LIMIT_FORMS } from './figures/limit-names.ts';
import { type LimitOwner, type OwnLimits, patchLimits } from './figures/patch-limits.ts';
import { formatPercentageList, parsePercentageList } from './figures/shares.ts';

type LimitName = keyof Limits;

interface LimitsFormProps {
  target: LimitOwner;
  /** Its own limits. */
  ownLimits: OwnLimits;
  /** The limits that it can have. */
  names: readonly LimitName[];
  /** The limits in force, if some of them may be those of a group or the deployment. */
  inForce?: OwnLimits;
}

/** Edits the limits that are set, and adds others. */
export function LimitsForm({ target: of, ownLimits: own, names: all, inForce = own }: LimitsFormProps) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const saved = useSignal('');
  /** The limit that is chosen to be added. */
  const chosenLimit = useSignal('');
  const newField = useRef<LimitName | undefined>(undefined);
  /** The limits that were added or removed here and are not saved. */
  const added = useSignal<readonly LimitName[]>([]);
  const removed = useSignal<readonly LimitName[]>([]);
  /** The limits that the user has changed, with the values that they had before: undefined for the values that are shown now. */
  const changed = useRef(new Map<LimitName, unknown>());
  const noteChange = (name: LimitName) => {
    if (changed.current.get(name) === undefined) changed.current.set(name, own[name] ?? null);
  };
  const isLimitSet = (name: LimitName) =>
    (own[name] !== undefined || added.value.includes(name)) && !isLimitRemoved(name);
  const isLimitRemoved = (name: LimitName) => removed.value.includes(name);
  const names = all.filter((name) => name !== 'alerts' || canAlertAboutSpending(of.kind));
  const shown = names.filter(isLimitSet);
  const shownFault = findFaultyField(fault.value ?? '', names);
  const saveLimits = async (form: FormData) => {
    saved.value = '';
    const isSaved = await run(async () => {
      // Another admin may have changed the other limits, so send only what was changed here.
      const changes = [...changed.current.keys()].map((name) => {
        const text = String(form.get(name) ?? '').trim();
        return [name, shown.includes(name) ? parseLimitInput(name, text, own[name]) : null] as const;
      });
      const before = [...changed.current].map(([name, value = own[name] ?? null]) => [name, value] as const);
      try {
        await patchLimits(of, Object.fromEntries(changes), Object.fromEntries(before));
      } finally {
        // After a conflict, the form shows the current values, which another attempt may replace.
        for (const name of changed.current.keys()) changed.current.set(name, undefined);
      }
      changed.current.clear();
      [added.value, removed.value] = [[], []];
    });
    if (!isSaved) return;
    saved.value = 'Saved. Lists are updated within a minute.';
    announceToScreenReader(saved.value);
  };
  const removeLimit = (name: LimitName) => {
    // The pressed button disappears, so move the keyboard focus to the submit button.
    document.activeElement?.closest('form')?.querySelector<HTMLElement>('[type=submit]')?.focus();
    noteChange(name);
    added.value = added.value.filter((one) => one !== name);
    if (own[name] !== undefined) removed.value = [...removed.value, name];
  };
  const addLimit = (name: LimitName) => {
    // The pressed button is disabled until another limit is chosen, so move the keyboard focus to the new field.
    newField.current = name;
    noteChange(name);
    removed.value = removed.value.filter((one) => one !== name);
    if (own[name] === undefined) added.value = [...added.value, name];
  };
  const others = names.filter((name) => !isLimitSet(name));
  const chosen = others.find((name) => name === chosenLimit.value);
  // Run after each rendering: the new field is rendered after the press.
  useLayoutEffect(() => {
    if (newField.current !== undefined) document.querySelector<HTMLElement>(`form [name=${newField.current}]`)?.focus();
    newField.current = undefined;
  });
  const hasAlerts = shown.includes('alerts');
  useEffect(() => {
    if (hasAlerts) void readAlertUrlState();
  }, [hasAlerts]);
  // Wait, so that the warning does not move the button below it.
  if (own.alerts !== undefined && hasAlerts && isAlertUrlSet.value === undefined) return <p class="quiet loading">…</p>;
  return (
    <Form onSubmit={(data) => void saveLimits(data)}>
      {shown.length === 0 && (
        <p class="quiet">{removed.value.length > 0 ? 'Saving removes all limits.' : 'No limits.'}</p>
      )}
      <div
        class="fields"
        onInput={({ target }) => {
          const { name } = target as HTMLInputElement | HTMLSelectElement;
          if (isLimitName(name)) noteChange(name);
        }}
      >
        {shown.map((name) => (
          <Field
            key={name}
            label={LIMIT_FORMS[name].title}
            note={describeLimitField(name, of)}
            fault={shownFault.field === name ? shownFault.message : undefined}
          >
            {(ids) => (
              <span class="inline with-button">
                {isDollarLimit(name) && <span aria-hidden="true">$</span>}
                <LimitInput fieldAttributes={ids} name={name} value={own[name]} valueInForce={inForce[name]} />
                <SmallButton
                  name="Remove"
                  label={`Remove ${LIMIT_FORMS[name].title}`}
                  onClick={() => removeLimit(name)}
                />
              </span>
            )}
          </Field>
        ))}
        {others.length > 0 && (
          <Field label="Add a limit">
            {(ids) => (
              <span class="inline with-button">
                <Select
                  {...ids}
                  value={chosen ?? ''}
                  options={[['', 'Choose…'], ...others.map((name) => [name, LIMIT_FORMS[name].title] as const)]}
                  onChoose={(name) => (chosenLimit.value = name)}
                />
                <SmallButton
                  name="Add"
                  label="Add the chosen limit"
                  disabled={chosen === undefined}
                  onClick={() => chosen !== undefined && addLimit(chosen)}
                />
              </span>
            )}
          </Field>
        )}
      </div>
      {isLimitRemoved('usd_total') && of.kind === 'account' && (
        <p class="state" data-look="nearly">
          Without “{LIMIT_FORMS.usd_total.title}”, credit has no effect. Only the other limits of this account then
          apply.
        </p>
      )}
      {fault.value && !shownFault.field && <FaultMessage text={shownFault.message} />}
      <p class="row">
        <SubmitButton name="Save limits" disabled={busy.value} /> <span class="quiet">{saved.value}</span>
      </p>
    </Form>
  );
}

/** @returns the note below the field of a limit: that credit is added to it, or that its alerts are not sent */
function describeLimitField(name: LimitName, owner: LimitOwner) {
  if (name === 'usd_total' && owner.kind === 'account') return 'Credit is added to this limit.';
  return name === 'alerts' && isAlertUrlSet.value === false ? <AlertsNotSentText /> : undefined;
}

/** @returns whether the deployment creates and stores alerts about the spending of such an owner. It drops alerts otherwise */
function canAlertAboutSpending(owner: LimitOwner['kind']): boolean {
  return hasPlugin('webhooks') && (owner !== 'account' || hasPlugin('operator'));
}

/** Shows limits to an operator who cannot change them. @param hasCredit whether credit is added to the limit in total */
export function LimitList({ limits, hasCredit = false }: { limits: OwnLimits; hasCredit?: boolean }) {
  const facts = Object.entries(limits).flatMap(([name, value]) => {
    if (!isLimitName(name)) return [];
    const credit = hasCredit && name === 'usd_total' ? ' plus credit' : '';
    return [[getLimitTitle(name), formatLimitValue(name, value) + credit] as const];
  });
  return facts.length === 0 ? <p class="quiet">No limits.</p> : <Facts facts={facts} />;
}

interface LimitInputProps {
  fieldAttributes: { id: string; 'aria-invalid': boolean; 'aria-describedby': string | undefined };
  name: LimitName;
  value: unknown;
  valueInForce: unknown;
}

function LimitInput({ fieldAttributes: ids, name, value, valueInForce: inForce }: LimitInputProps) {
  const { kind } = LIMIT_FORMS[name];
  if (typeof kind !== 'string') {
    return (
      <select {...ids} name={name}>
        {kind.map(([key, formatValue]) => (
          <option key={key} value={key} selected={key === (value ?? inForce)}>
            {formatValue}
          </option>
        ))}
      </select>
    );
  }
  if (kind === 'number') {
    return (
      <input
        {...ids}
        name={name}
        type="number"
        min={0}
        step="any"
        placeholder={inForce === undefined ? '' : String(inForce)}
        defaultValue={value === undefined ? '' : String(value)}
      />
    );
  }
  const formatInputValue = (value: unknown) =>
    kind === 'shares' ? formatPercentageList(value as number[]) : ((value ?? []) as string[]).join(', ');
  return (
    <>
      <input
        {...ids}
        name={name}
        autocomplete="off"
        spellcheck={false}
        list={kind === 'names' ? 'limit-models' : undefined}
        placeholder={kind === 'shares' ? '50, 80, 100' : 'model ids, separated by commas'}
        defaultValue={formatInputValue(value)}
      />
      {kind === 'names' && (
        <datalist id="limit-models">
          {availableModels.value.map(({ id }) => (
            <option key={id} value={id} />
          ))}
        </datalist>
      )}
    </>
  );
}

/**
 * @param before what it is now. An empty list of models stays one; what is emptied is not removed without a word
 * @returns a limit as it was typed
 * @throws Error that begins with its name, as those of the edge do
 */
function parseLimitInput(name: LimitName, text: string, before: unknown): unknown {
  const { kind } = LIMIT_FORMS[name];
  const isEmptyList = Array.isArray(before) && before.length === 0;
  if (!/[^\s,;%]/.test(text) && !(kind === 'names' && isEmptyList))
    throw new Error(`${name}: Remove this limit, or give it ${kind === 'names' ? 'a model' : 'a number'}.`);
  if (kind === 'number') return Number(text);
  if (kind === 'shares') return parsePercentageList(text);
  if (kind === 'names') return text.split(/[\s,]+/).filter((model) => model !== '');
  return text;
}
