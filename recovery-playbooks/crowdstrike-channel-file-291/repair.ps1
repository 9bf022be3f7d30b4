# Channel File 291, 19 July 2024: removes the bad versions from a Windows that runs in safe mode. Windows PowerShell 5.1,
# as an administrator:
#   powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File repair.ps1
#
# In:    BLACKSTART_ROOT  empty for the running system, else the root of another Windows volume, for example D:\
#        BLACKSTART_KEEP  folder for the copies of what is removed; it is made when it does not exist
# Out:   0 repaired, 10 nothing found, 11 expected place missing, anything else failed (nothing is removed before
#        every bad file has a checked copy); the last line of stdout is the result line.
#
# A name alone decides nothing: good and bad versions share it. Header and time of change decide.
# The safe-boot flag and BitLocker are left as they are: they are debts of this playbook, for a person to see to.
# Plain ASCII, for PowerShell 5.1 misreads anything else.

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# What decides. A test holds these equal to manifest.yaml.
$Header  = 'AA-AA-AA-AA-01-00-23-01'
$BadFrom = New-Object DateTime (2024, 7, 19, 4, 9, 0, [DateTimeKind]::Utc)    # the first bad second
$BadTo   = New-Object DateTime (2024, 7, 19, 5, 27, 0, [DateTimeKind]::Utc)   # the first good second

$script:Bad = 0
$script:Good = 0
$script:Zeroed = 0
$script:Other = 0
$script:Removed = 0
$script:Kept = 0

# The only way out.
function Finish([int]$Code, [string]$Outcome, [string]$Reason) {
    $line = 'BLACKSTART-RESULT outcome={0} bad={1} good={2} zeroed={3} other={4} removed={5} kept={6}' -f `
        $Outcome, $script:Bad, $script:Good, $script:Zeroed, $script:Other, $script:Removed, $script:Kept
    if ($Reason) { $line = $line + ' reason=' + $Reason }
    [Console]::Out.WriteLine($line)
    [Console]::Out.Flush()
    exit $Code
}

function Say([string]$Text) { [Console]::Error.WriteLine($Text) }

function Fail([int]$Code, [string]$Reason, [string]$Text) {
    Say $Text
    Finish $Code 'failed' $Reason
}

# A name that can stand in the output.
function Shown([IO.FileInfo]$File) {
    if ($File.Name -match '^[A-Za-z0-9._ ()-]+$') { return $File.Name }
    return '(a file with unusual characters in its name)'
}

function IsLink($Item) { return (($Item.Attributes -band [IO.FileAttributes]::ReparsePoint) -ne 0) }

# bad, good, zeroed (an artefact of a crash while the file was written: neither bad nor good) or other.
function Classify([IO.FileInfo]$File) {
    if (IsLink $File) { return 'other' }
    if ($File.LastWriteTimeUtc -lt $BadFrom) { return 'other' }
    $head = New-Object byte[] 8
    $stream = New-Object IO.FileStream ($File.FullName, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::ReadWrite)
    try {
        $got = 0
        while ($got -lt 8) {
            $n = $stream.Read($head, $got, 8 - $got)
            if ($n -le 0) { break }
            $got = $got + $n
        }
    } finally {
        $stream.Dispose()
    }
    if ($got -lt 8) { return 'other' }
    $text = [BitConverter]::ToString($head)
    if ($text -eq $Header) {
        if ($File.LastWriteTimeUtc -lt $BadTo) { return 'bad' }
        return 'good'
    }
    if ($text -eq '00-00-00-00-00-00-00-00') { return 'zeroed' }
    return 'other'
}

# Counts what is in the folder and returns the bad files.
function Survey([string]$Folder) {
    $script:Bad = 0
    $script:Good = 0
    $script:Zeroed = 0
    $script:Other = 0
    $found = @()
    foreach ($path in [IO.Directory]::GetFiles($Folder)) {
        $file = New-Object IO.FileInfo ($path)
        # -like, not a search pattern: those match short names and longer endings too.
        if (-not ($file.Name -like 'C-00000291*.sys')) { continue }
        $kind = Classify $file
        switch ($kind) {
            'bad'    { $script:Bad = $script:Bad + 1; $found = $found + $file }
            'good'   { $script:Good = $script:Good + 1 }
            'zeroed' { $script:Zeroed = $script:Zeroed + 1 }
            default  { $script:Other = $script:Other + 1 }
        }
        Say ($kind + ': ' + (Shown $file))
    }
    return , $found
}

function Digest([string]$Path) { return (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant() }

# ---- the work ---------------------------------------------------------------------------------------------------------

$stage = 'cannot-read'
try {
    if ([Environment]::Is64BitOperatingSystem -and -not [Environment]::Is64BitProcess) {
        Fail 2 'wrong-powershell' 'This is the 32-bit PowerShell, which is shown another System32: start the 64-bit one'
    }
    $root = $env:BLACKSTART_ROOT
    if (-not $root) { $root = $env:SystemDrive }
    if (-not $root) { Fail 2 'no-root' 'Neither BLACKSTART_ROOT nor SystemDrive is set: set BLACKSTART_ROOT to the volume, for example C:\' }
    $root = $root.TrimEnd('\', '/') + '\'
    $keep = $env:BLACKSTART_KEEP
    if (-not $keep -or -not [IO.Path]::IsPathRooted($keep)) {
        Fail 2 'no-keep' 'BLACKSTART_KEEP is not an absolute path: set it to a folder for the copies'
    }

    # Each folder on the way, so that a link on the way is seen.
    $place = $root
    foreach ($name in 'Windows', 'System32', 'drivers', 'CrowdStrike') {
        $place = [IO.Path]::Combine($place, $name)
        if (-not [IO.Directory]::Exists($place)) {
            Say ('no folder ' + $place + ': is it the right volume, unlocked, and is the product installed?')
            Finish 11 'place-missing' ''
        }
        if (IsLink (New-Object IO.DirectoryInfo ($place))) {
            Fail 7 'link-in-the-way' ('the folder ' + $place + ' is a link that this script does not follow: do this host by hand')
        }
    }

    $files = Survey $place
    $was = $script:Bad
    if ($was -eq 0) { Finish 10 'nothing-found' '' }

    # Copies first, all of them, checked and on the disk.
    $stage = 'copy-failed'
    [void][IO.Directory]::CreateDirectory($keep)
    $number = 0
    $list = @()
    foreach ($file in $files) {
        $number = $number + 1
        $copy = [IO.Path]::Combine($keep, ('{0}-{1}' -f $number, $file.Name))
        $before = Digest $file.FullName
        [IO.File]::Copy($file.FullName, $copy, $false)
        $stream = New-Object IO.FileStream ($copy, [IO.FileMode]::Open, [IO.FileAccess]::ReadWrite)
        try { $stream.Flush($true) } finally { $stream.Dispose() }
        [IO.File]::SetLastWriteTimeUtc($copy, $file.LastWriteTimeUtc)
        if ((Digest $copy) -ne $before) {
            [IO.File]::Delete($copy)
            Fail 3 'copy-failed' ((Shown $file) + ' could not be copied to ' + $keep + ', so nothing was removed: make room there')
        }
        $list = $list + ('{0}  {1}-{2}' -f $before, $number, $file.Name)
        $script:Kept = $script:Kept + 1
    }
    [IO.File]::AppendAllText([IO.Path]::Combine($keep, 'SHA256SUMS'), (($list -join "`n") + "`n"))

    $stage = 'cannot-remove'
    foreach ($file in $files) {
        if ($file.IsReadOnly) { $file.IsReadOnly = $false }
        [IO.File]::Delete($file.FullName)
        $script:Removed = $script:Removed + 1
    }

    # Look again, from the top: what counts is what is there now.
    $stage = 'cannot-read'
    [void](Survey $place)
    if ($script:Bad -ne 0) {
        $script:Removed = $was - $script:Bad
        Fail 5 'still-bad' ('{0} bad files are still there after {1} were removed' -f $script:Bad, $was)
    }
    $script:Bad = $was
} catch {
    $codes = @{ 'cannot-read' = 6; 'copy-failed' = 3; 'cannot-remove' = 4 }
    Fail $codes[$stage] $stage ('stopped: ' + $_.Exception.Message)
}
Finish 0 'repaired' ''
