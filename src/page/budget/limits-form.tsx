import { useSignal } from '@preact/signals';
import type { Limits } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { fieldFault } from '../edge/field-fault.ts';
import { models } from '../edge/models.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, Select, SubmitButton } from '../ui/form.tsx';
import { LIMITS } from './figures/limit-names.ts';
import { type Limited, type OwnLimits, patchLimits } from './figures/patch-limits.ts';
import { sharesIn, sharesText } from './figures/shares.ts';

type LimitName = keyof Limits;

interface LimitsFormProps {
  of: Limited;
  /** The limits that it has of its own. */
  own: OwnLimits;
  /** The limits that it can have. */
  names: readonly LimitName[];
  /** The limits in force, where they may be somebody else's. */
  inForce?: OwnLimits;
}

/** Edits the limits that are set, and adds others. */
export function LimitsForm({ of, own, names, inForce = own }: LimitsFormProps) {
  const { busy, fault, run } = useAction();
  const saved = useSignal('');
  /** What was added or removed here, and is not saved. */
  const added = useSignal<readonly LimitName[]>([]);
  const removed = useSignal<readonly LimitName[]>([]);
  const isSet = (name: LimitName) => (own[name] !== undefined || added.value.includes(name)) && !isRemoved(name);
  const isRemoved = (name: LimitName) => removed.value.includes(name);
  const shown = names.filter(isSet);
  const shownFault = fieldFault(fault.value ?? '', names);
  const save = async (form: FormData) => {
    saved.value = '';
    const isSaved = await run(async () => {
      const changes = [
        ...shown.map((name) => [name, valueIn(name, String(form.get(name) ?? '').trim(), own[name])] as const),
        ...removed.value.map((name) => [name, null] as const),
      ];
      await patchLimits(of, Object.fromEntries(changes));
      [added.value, removed.value] = [[], []];
    });
    if (!isSaved) return;
    saved.value = 'Saved. Lists know it within a minute.';
    announce(saved.value);
  };
  const remove = (name: LimitName) => {
    // The pressed button goes: the next press saves.
    document.activeElement?.closest('form')?.querySelector<HTMLElement>('[type=submit]')?.focus();
    added.value = added.value.filter((one) => one !== name);
    if (own[name] !== undefined) removed.value = [...removed.value, name];
  };
  const add = (name: LimitName) => {
    removed.value = removed.value.filter((one) => one !== name);
    if (own[name] === undefined) added.value = [...added.value, name];
  };
  const others = names.filter((name) => !isSet(name));
  return (
    <Form onSubmit={(data) => void save(data)}>
      {shown.length === 0 && (
        <p class="quiet">
          {removed.value.length > 0 ? 'All limits are removed once you save.' : 'No limits of its own.'}
        </p>
      )}
      <div class="fields">
        {shown.map((name) => (
          <Field
            key={name}
            label={LIMITS[name].title}
            fault={shownFault.field === name ? shownFault.message : undefined}
          >
            {(ids) => (
              <span class="inline with-button">
                <LimitInput ids={ids} name={name} value={own[name]} inForce={inForce[name]} />
                <SmallButton name="Remove" label={`Remove ${LIMITS[name].title}`} onClick={() => remove(name)} />
              </span>
            )}
          </Field>
        ))}
        {others.length > 0 && (
          <Field label="Add a limit">
            {(ids) => (
              <Select
                {...ids}
                value=""
                options={[['', 'Choose…'], ...others.map((name) => [name, LIMITS[name].title] as const)]}
                onChoose={(name) => name !== '' && add(name as LimitName)}
              />
            )}
          </Field>
        )}
      </div>
      {isRemoved('usd_total') && of.kind === 'account' && (
        <p class="state" data-look="nearly">
          Without “{LIMITS.usd_total.title}” credit limits nothing: this account may then spend what its other limits
          allow.
        </p>
      )}
      {fault.value && !shownFault.field && <Fault text={shownFault.message} />}
      <p class="row">
        <SubmitButton name="Save limits" disabled={busy.value} /> <span class="quiet">{saved.value}</span>
      </p>
    </Form>
  );
}

interface LimitInputProps {
  ids: { id: string; 'aria-invalid': boolean; 'aria-describedby': string | undefined };
  name: LimitName;
  value: unknown;
  inForce: unknown;
}

function LimitInput({ ids, name, value, inForce }: LimitInputProps) {
  const { kind } = LIMITS[name];
  if (typeof kind !== 'string') {
    return (
      <select {...ids} name={name}>
        {kind.map(([key, text]) => (
          <option key={key} value={key} selected={key === (value ?? inForce)}>
            {text}
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
  const text = (value: unknown) =>
    kind === 'shares' ? sharesText(value as number[]) : ((value ?? []) as string[]).join(', ');
  return (
    <>
      <input
        {...ids}
        name={name}
        autocomplete="off"
        spellcheck={false}
        list={kind === 'names' ? 'limit-models' : undefined}
        placeholder={kind === 'shares' ? '50, 80, 100' : 'ids of models, separated by commas'}
        defaultValue={text(value)}
      />
      {kind === 'names' && (
        <datalist id="limit-models">
          {models.value.map(({ id }) => (
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
function valueIn(name: LimitName, text: string, before: unknown): unknown {
  const { kind } = LIMITS[name];
  const isEmptyList = Array.isArray(before) && before.length === 0;
  if (!/[^\s,;%]/.test(text) && !(kind === 'names' && isEmptyList))
    throw new Error(`${name}: Remove this limit, or give it ${kind === 'names' ? 'a model' : 'a number'}.`);
  if (kind === 'number') return Number(text);
  if (kind === 'shares') return sharesIn(text);
  if (kind === 'names') return text.split(/[\s,]+/).filter((model) => model !== '');
  return text;
}
