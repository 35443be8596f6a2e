import { render } from 'preact';
import { App } from './app.tsx';
import { start } from './edge/client.ts';
import { showTheme } from './theme.ts';

showTheme();
const root = document.getElementById('page');
if (root) render(<App />, root);
void start();
