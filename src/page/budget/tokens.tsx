import { useSignal } from '@preact/signals';
import { useCallback, useEffect, useRef } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { inPath } from '../../client/transport.ts';
import type { MintedTokenAnswer, Scope, ServedPath, TokenRow } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { edge, readJson } from '../edge/client.ts';
import { SmallButton } from '../ui/button.tsx';
import { CopyButton } from '../ui/copy-button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Form, SubmitButton } from '../ui/form.tsx';
import { formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { account } from './figures/report.ts';

const MOST_CREDENTIALS = 100;
/** All scopes. A scope that is missing here is a type error. */
const SCOPES: Record<Scope, true> = { messages: true, classify: true, prefixes: true, tools: true, admin: true };
const HOURS = [1, 24, 24 * 30];

/** Shows an account's tokens, and lets an admin mint and revoke some. */
export function Tokens() {
  const rows = useSignal<TokenRow[]>([]);
  const minted = useSignal<string | undefined>(undefined);
  const { fault, run } = useAction();
  const reads = useRef(0);
  const path: ServedPath = `/accounts/${inPath(account.value)}/tokens`;
  const attempt = useCallback(
    (work?: () => Promise<unknown>) =>
      run(async () => {
        await work?.();
        reads.current += 1;
        const read = reads.current;
        const { data } = await readJson<Page<TokenRow>>(path, { query: { limit: MOST_CREDENTIALS } });
        // An older list that comes late would hide what has been minted since.
        if (read === reads.current) rows.value = data;
      }),
    [path, run, rows],
  );
  useEffect(() => {
    void attempt();
  }, [attempt]);
  const mint = (fields: object) =>
    attempt(async () => {
      const body = { account: account.value, ...fields };
      minted.value = (await readJson<MintedTokenAnswer>('/tokens', { method: 'POST', body })).token;
    });
  return (
    <div class="stack">
      <MintForm mint={mint} />
      {minted.value && (
        <div class="minted">
          <code>{minted.value}</code>
          <CopyButton text={() => minted.value ?? ''} label="Copy the token" />
          <p class="quiet">Copy it now. It is not shown again.</p>
        </div>
      )}
      {fault.value && <Fault text={fault.value} />}
      {rows.value.length > 0 && (
        <Table label="Minted tokens" columns={['Token', 'Scopes', 'First used', 'Expires']} action="Revoke">
          {rows.value.map(({ jti, label, scopes, first_seen_at, expires_at, revoked_at }) => (
            <tr key={jti}>
              <th scope="row">{label ?? jti.slice(0, 12)}</th>
              <td>{scopes?.join(', ') ?? ''}</td>
              <td>{first_seen_at ? formatMoment(first_seen_at) : 'never'}</td>
              <td>{revoked_at ? 'revoked' : expires_at ? formatMoment(expires_at) : 'never'}</td>
              <td>
                {!revoked_at && (
                  <SmallButton
                    name="Revoke"
                    onClick={() =>
                      void attempt(() => edge().fetch(`${path}/${encodeURIComponent(jti)}`, { method: 'DELETE' }))
                    }
                  />
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </div>
  );
}

function MintForm({ mint }: { mint(fields: object): Promise<unknown> }) {
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
        {Object.keys(SCOPES).map((scope) => (
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
