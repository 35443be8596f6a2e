import { render } from 'preact';
import { App } from './app.tsx';
import { checkConnection } from './edge/client.ts';
import { applyThemeOnChange } from './theme.ts';

applyThemeOnChange();
const root = document.getElementById('page');
if (root) {
  // Remove the placeholder of index.html once there is content. A CSS rule that depends on the content would recompute all
  // styles with each change.
  const renderObserver = new MutationObserver(() => {
    if (!root.querySelector('main > *')) return;
    renderObserver.disconnect();
    document.getElementById('skeleton')?.remove();
  });
  renderObserver.observe(root, { childList: true, subtree: true });
  render(<App />, root);
}
void checkConnection();
