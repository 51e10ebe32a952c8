# awk -f lock-part.awk NAMES LOCK: the requirements of LOCK, hashes and all, whose names NAMES lists one a line.
function name(line) { sub(/[=\[ ;].*/, "", line); return tolower(line) }
NR == FNR { if ($0 ~ /^[A-Za-z0-9]/) wanted[name($0)]; next }
/^[A-Za-z0-9]/ { keep = name($0) in wanted }
/^#/ { keep = 0 }
keep
