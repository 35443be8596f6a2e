import { useSignal } from '@preact/signals';
import { Form, SubmitButton } from '../ui/form.tsx';
import { account } from './figures/report.ts';
import { SCOPE_NAMES } from './figures/scopes.ts';

const HOURS = [1, 24, 24 * 30];

/** Asks for the properties of a new token. */
export function MintForm({ mint }: { mint(fields: object): Promise<unknown> }) {
  const busy = useSignal(false);
  const submit = async (form: FormData) => {
    busy.value = true;
    const hours = Number(form.get('hours'));
    const label = String(form.get('label')).trim();
    await mint({
      scopes: form.getAll('scope').map(String),
      ...(hours > 0 ? { expires_in: hours * 3_600 } : {}),
      ...(label === '' ? {} : { label }),
    });
    busy.value = false;
  };
  return (
    <Form onSubmit={(data) => void submit(data)}>
      <div class="fields">
        <label class="labelled">
          Label
          <input name="label" maxLength={256} autocomplete="off" placeholder="Where it is used" />
        </label>
        <label class="labelled">
          Expires after
          <select name="hours">
            {HOURS.map((hours) => (
              <option key={hours} value={hours}>
                {hours < 24 ? '1 hour' : hours === 24 ? '1 day' : '30 days'}
              </option>
            ))}
            <option value={0}>Never</option>
          </select>
        </label>
      </div>
      <fieldset class="row">
        <legend class="unseen">Scopes</legend>
        {SCOPE_NAMES.map((scope) => (
          <label key={scope} class="chip">
            <input type="checkbox" name="scope" value={scope} defaultChecked={scope === 'messages'} />
            {scope}
          </label>
        ))}
        <SubmitButton name={`Mint a token for ${account.value}`} kind="small" disabled={busy.value} />
      </fieldset>
    </Form>
  );
}
